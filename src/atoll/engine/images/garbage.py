"""What no row names any more: layers and blobs. Found by difference, removed under the exclusive images lock."""

from __future__ import annotations

from atoll.base import files
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


class Garbage(Value):
    """Layers (chainIDs) and blobs (digests) that nothing names."""

    layers: tuple[str, ...]
    blobs: tuple[str, ...]


def lock_path(engine: Engine) -> str:
    """The lock between those who make content and those who remove it."""
    return engine.paths.data + "/images.lock"


def find(engine: Engine) -> Garbage:
    """What could go, at this moment."""
    chains, blobs = engine.store.kept()
    return Garbage(
        layers=tuple([one for one in engine.snapshots.layers() if one not in chains]),
        blobs=tuple([one.digest for one in engine.content().blobs() if one.digest not in blobs]),
    )


def collect(engine: Engine) -> Garbage | None:
    """Remove what nothing names. None while a pull is on its way: its content has no row yet, and the next
    collection finds ours."""
    lock = files.FileLock(lock_path(engine))
    if not lock.acquire(blocking=False):
        return None
    try:
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
        engine.snapshots.sweep()
        return found
    finally:
        lock.release()
