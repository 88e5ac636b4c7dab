"""The size budget of images: `[storage] keep` in atoll.toml; what was not used for longest goes when it is exceeded.

Holds: `keep_within`, `stored`. Does not hold: removing content (`garbage.py`). Who has made an image calls it, after
giving back the images lock: it needs that for itself alone, and leaves the work to the next one where it is held.

What goes: garbage first; images without a name; then those with one; each in the order of their last use, which is
the time of their topmost layer's directory (`Snapshots.note_use`). What a container is made from, or has mounted,
stays, and so does what was just made, even if the budget is exceeded by them.
"""

from __future__ import annotations

from atoll.base import errors, files
from atoll.engine.images import garbage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from atoll.engine.engine import Engine


def keep_within(engine: Engine, spare: Collection[str]) -> tuple[str, ...]:
    """Evict images until what is stored fits the budget, but for those of `spare`; returns their ids. The rows go in
    one transaction, their content after it: a kill in between leaves garbage, which the next one collects first."""
    budget = engine.config.storage_keep
    if not budget or sum(stored(engine).values()) <= budget:
        return ()
    lock = files.FileLock(garbage.lock_path(engine))
    if not lock.acquire(blocking=False):
        return ()
    try:
        garbage.remove_found(engine)
        sizes = stored(engine)
        evicted = engine.store.write(lambda connection: _evict(engine, connection, sizes, budget, spare))
        if evicted:
            garbage.remove_found(engine)
    finally:
        lock.release()
    return evicted


def stored(engine: Engine) -> dict[str, int]:
    """Bytes of each blob (by digest) and each unpacked layer (by path) that is here."""
    found = {one.digest: one.size for one in engine.content().blobs()}
    for chain in engine.snapshots.layers():
        try:
            found[engine.snapshots.layer_path(chain)] = engine.snapshots.layer_usage(chain).bytes
        except (errors.NotFound, errors.Corrupt):
            continue
    return found


def _evict(
    engine: Engine, connection: Any, sizes: dict[str, int], budget: int, spare: Collection[str]
) -> tuple[str, ...]:
    """Delete rows of images, the first to go first, until what the others keep fits. Returns their ids."""
    kept: dict[str, set[str]] = {}
    for image, chain in connection.execute("SELECT image, chain_id FROM layers ORDER BY position").fetchall():
        kept.setdefault(image, set()).add(engine.snapshots.layer_path(chain))
    for image, digest in connection.execute("SELECT image, digest FROM blobs").fetchall():
        kept.setdefault(image, set()).add(digest)
    # A container's record has the ids of images that it mounts.
    candidates = connection.execute(
        "SELECT i.id, EXISTS (SELECT 1 FROM tags t WHERE t.image = i.id AND t.tag IS NOT NULL), i.created_at,"
        " (SELECT l.chain_id FROM layers l WHERE l.image = i.id ORDER BY l.position DESC LIMIT 1)"
        " FROM images i WHERE NOT EXISTS (SELECT 1 FROM containers c WHERE c.image = i.id"
        " OR instr(c.record, i.id) > 0)"
    ).fetchall()
    order = sorted(
        [(bool(named), _last_use(engine, chain, created), image) for image, named, created, chain in candidates]
    )
    evicted = []
    for _, _, image in order:
        if sum(sizes.get(part, 0) for part in set().union(*kept.values())) <= budget:
            break
        if image not in spare:
            connection.execute("DELETE FROM images WHERE id = ?", (image,))
            kept.pop(image, None)
            evicted.append(str(image))
    return tuple(evicted)


def _last_use(engine: Engine, chain: str | None, created: int) -> int:
    """Nanoseconds; of an image without layers when it was made."""
    used = engine.snapshots.last_use(chain) if chain else None
    return created if used is None else used
