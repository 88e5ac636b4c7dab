"""system check: compare what is recorded with what is there; with `repair`, mend it.

Holds: `check` and its parts, one a kind of disorder. A command that is killed leaves one of these; the next command
that meets it mends it on the way, and this finds all. Content that a pull is fetching right now is left alone.
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.engine.containers.remove import remove_if_leftover
from atoll.engine.images import garbage
from atoll.engine.locks import is_busy, lock_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def check(engine: Engine, *, repair: bool) -> list[str]:
    """What was found, in words, one a line; empty when all is well. Raises Corrupt when the store itself cannot be
    read."""
    damage = [f"the store is damaged: {line}" for line in engine.store.integrity()]
    if damage:
        return damage
    return [
        *_pods(engine, repair),
        *_containers(engine, repair),
        *_directories(engine, repair),
        *_writables(engine, repair),
        *_checkpoints(engine, repair),
        *_runs(engine, repair),
        *_trash(engine, repair),
        *_volumes(engine, repair),
        *_networks(engine, repair),
        *_images(engine, repair),
        *_garbage(engine, repair),
    ]


def mend_containers(engine: Engine) -> None:
    """Remove what killed commands left of containers, without looking at anything else."""
    _containers(engine, True)
    _directories(engine, True)
    _writables(engine, True)
    _runs(engine, True)


def _containers(engine: Engine, repair: bool) -> list[str]:
    """Rows whose container is half made or half removed."""
    from atoll.engine.containers import bundle

    found = []
    for row in engine.store.containers():
        place = engine.paths.container(row.id)
        if bundle.is_whole(place) or is_busy(place):
            continue
        run = engine.paths.container_run(row.id)
        if os.path.isdir(place) and os.path.isdir(run) and not engine.driver.status(run, place).ended:
            continue
        found.append(f"container {row.id[:12]} ({row.name}) is half made or half removed")
        if repair:
            remove_if_leftover(engine, row)
    return found


def _pods(engine: Engine, repair: bool) -> list[str]:
    """Pods half made or half removed, and their cgroups."""
    from atoll.engine.pods.remove import check as check_pods

    return check_pods(engine, repair=repair)


def _known(engine: Engine) -> set[str]:
    return {row.id for row in engine.store.containers()}


def _directories(engine: Engine, repair: bool) -> list[str]:
    """Container directories without a row. One being made right now is locked, and has its row soon."""
    found = []
    known = _known(engine)
    for name in _listdir(engine.paths.containers):
        path = f"{engine.paths.containers}/{name}"
        if name in known:
            continue
        try:
            lock = lock_container(path, blocking=False)
        except (errors.NotFound, errors.Unavailable):
            continue
        with lock:  # who is just making it finds that it went, and makes another
            if name in _known(engine):
                continue
            found.append(f"directory {path} belongs to no container")
            if repair:
                files.remove_tree(path)
    return found


def _writables(engine: Engine, repair: bool) -> list[str]:
    """Writable layers without a row."""
    found = []
    for name in _listdir(engine.paths.snapshots + "/writable"):
        if name not in _known(engine) and not os.path.isdir(engine.paths.container(name)):
            found.append(f"the writable layer {name[:12]} belongs to no container")
            if repair:
                engine.snapshots.remove_writable(name)
    return found


def _checkpoints(engine: Engine, repair: bool) -> list[str]:
    """Checkpoints half made or half removed, and those whose records are damaged, which stay for their owner."""
    if not any(os.path.isdir(f"{engine.paths.container(name)}/checkpoints") for name in _known(engine)):
        return []
    from atoll.engine.checkpoints.check import check as check_checkpoints

    return check_checkpoints(engine, repair=repair)


def _runs(engine: Engine, repair: bool) -> list[str]:
    """Run directories without a row: processes whose records were lost, or what is left of them."""
    found = []
    for name in _listdir(engine.paths.containers_run):
        place, run = engine.paths.container(name), engine.paths.container_run(name)
        if name in _known(engine) or os.path.isdir(place):
            continue
        found.append(f"the run directory {run} belongs to no container")
        if repair:
            try:
                engine.driver.delete(run, place, force=True)
            except errors.AtollError as error:
                found.append(f"  it cannot be taken down: {error}")
                continue
            files.remove_tree(run)
    return found


def _volumes(engine: Engine, repair: bool) -> list[str]:
    """Volumes half made by the dead. Whoever makes one holds the lock, or that one's own."""
    from atoll.engine.volumes import store

    if not store.abandoned(engine):
        return []
    lock = store.lock(engine)
    if not lock.acquire(blocking=False):
        return []
    try:
        found = store.abandoned(engine)
        if repair:
            store.sweep(engine)
    finally:
        lock.release()
    return [f"{len(found)} volumes were half made by commands that are gone"] if found else []


def _networks(engine: Engine, repair: bool) -> list[str]:
    """Addresses, ports, rules and links of containers that have ended."""
    from atoll.engine.networks import repair as networks

    return networks.check(engine, repair=repair)


def _trash(engine: Engine, repair: bool) -> list[str]:
    """What was on its way out when a command was killed, layers half unpacked and blobs half made by the dead."""
    from atoll.images import ingest

    lines = []
    left = _listdir(engine.paths.snapshots + "/trash")
    if left:
        lines.append(f"{len(left)} removed layers are still in the trash")
    staged = engine.snapshots.abandoned()
    if staged:
        lines.append(f"{len(staged)} layers were half unpacked by commands that are gone")
    made = ingest.abandoned(engine.content())
    if made:
        lines.append(f"{len(made)} blobs were half made by commands that are gone")
    if repair:
        engine.snapshots.sweep()
        ingest.sweep(engine.content())
    return lines


def _images(engine: Engine, repair: bool) -> list[str]:
    """Images with blobs or layers missing or damaged. Layers come back from their blobs, blobs by a pull; so the
    names stay, unless the documents that say what the image is are gone."""
    from atoll.engine.images.unpack import unpack_again

    found = []
    content = engine.content()
    for row in engine.store.images():
        lacking = [digest for digest in (row.id, row.manifest, row.target) if not content.has(digest)]
        layers = engine.store.layers(row.id)
        missing = engine.snapshots.missing([layer.chain_id for layer in layers])
        blobs = [layer.blob for layer in layers if not content.has(layer.blob, layer.blob_size)]
        if row.id == row.manifest:  # an artifact has no layers to come from
            named = engine.store.read("SELECT digest FROM blobs WHERE image = ?", row.id)
            blobs = [digest for (digest,) in named if not content.has(digest) and digest not in lacking]
        if not lacking and not missing and not blobs:
            continue
        tags = [tag.reference for tag in engine.store.tags(row.id)]
        what = f"image {row.id[7:19]} ({', '.join(tags) or 'no name'})"
        lost = len(lacking) + len(blobs)
        how = "pull it again" if lost else "they can be unpacked again"
        found.append(f"{what} lacks {lost} blobs and {len(missing)} unpacked layers: {how}")
        if repair and not lost:
            unpack_again(engine, row)
        elif repair and lacking and not engine.store.image_users(row.id):
            engine.store.remove_image(row.id)
    return found


def _garbage(engine: Engine, repair: bool) -> list[str]:
    """Layers and blobs that no image names."""
    lock = files.FileLock(garbage.lock_path(engine))
    if not lock.acquire(blocking=False):
        return []
    try:
        found = garbage.find(engine)
    finally:
        lock.release()
    lines = [f"layer {layer[7:19]} belongs to no image" for layer in found.layers]
    lines += [f"blob {blob[7:19]} belongs to no image" for blob in found.blobs]
    lines += [f"erofs image {chain[7:19]} belongs to no image" for chain in found.erofs]
    if repair and lines:
        garbage.collect(engine)
    return lines


def _listdir(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
