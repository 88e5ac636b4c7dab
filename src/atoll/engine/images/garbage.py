"""What no row names any more: layers, blobs, erofs images. Found by difference, removed under the exclusive lock.

The lock is every maker's lease: whoever makes content holds it shared from before the first byte to after the row,
and the kernel takes it back from the dead. A kill in between leaves garbage that the next collection finds.
"""

from __future__ import annotations

from atoll.base import files
from atoll.base.value import Value
from atoll.images import erofs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


class Garbage(Value):
    """Layers (chainIDs), blobs (digests) and erofs images (chainIDs) that nothing names."""

    layers: tuple[str, ...]
    blobs: tuple[str, ...]
    erofs: tuple[str, ...] = ()


def lock_path(engine: Engine) -> str:
    """The lock between those who make content and those who remove it."""
    return engine.paths.data + "/images.lock"


def find(engine: Engine) -> Garbage:
    """What could go, at this moment."""
    chains, blobs = engine.store.kept()
    return Garbage(
        layers=tuple([one for one in engine.snapshots.layers() if one not in chains]),
        blobs=tuple([one.digest for one in engine.content().blobs() if one.digest not in blobs]),
        erofs=tuple([one for one in erofs.listed(engine.snapshots) if one not in chains]),
    )


def collect(engine: Engine) -> Garbage | None:
    """Remove what nothing names. None while a pull is on its way: its content has no row yet, and the next
    collection finds ours."""
    lock = files.FileLock(lock_path(engine))
    if not lock.acquire(blocking=False):
        return None
    try:
        return remove_found(engine)
    finally:
        lock.release()


def remove_found(engine: Engine) -> Garbage:
    """The same for a caller who holds the lock for itself alone."""
    found = find(engine)
    content = engine.content()
    for layer in found.layers:
        engine.snapshots.remove_layer(layer)
    kept = engine.store.kept()[0]
    for chain, name in engine.snapshots.elsewhere():
        if chain not in kept:
            engine.snapshots.remove_elsewhere(name)
    for blob in found.blobs:
        content.remove(blob)
    for chain in found.erofs:
        erofs.remove(engine.snapshots, chain)
    engine.snapshots.sweep()
    return found
