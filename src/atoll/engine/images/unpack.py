"""Layers unpacked again from the blobs that are kept: when a snapshot was lost or another id map is wanted."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.images import making

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine
    from atoll.engine.store import ImageRow
    from atoll.images.values import Progress


def announced(engine: Engine, row: ImageRow, name: str) -> Callable[[Progress], None] | None:
    """Say that what is missing of an image is unpacked again, how many layers and how many bytes of files, as far as
    the user's door shows such things. What it returns is told each step."""
    if engine.show_unpacking is None:
        return None
    layers = engine.store.layers(row.id)
    missing = set(engine.snapshots.missing([layer.chain_id for layer in layers]))
    lost = [layer for layer in layers if layer.chain_id in missing]
    return engine.show_unpacking(name, len(lost), sum([layer.size for layer in lost]))


def unpack_again(engine: Engine, row: ImageRow, *, progress: Callable[[Progress], None] | None = None) -> bool:
    """Unpack what is missing of an image without any network; False when blobs are missing too (pull it then).

    Raises Exhausted, Corrupt for a blob that is not what its digest says (it is removed).
    """
    from atoll.images import pull as mechanism
    from atoll.images.local import StoreSource
    from atoll.spec import reference as references
    from atoll.spec.image import parse_config

    store = engine.content()
    wanted = [row.manifest, row.id, *[layer.blob for layer in engine.store.layers(row.id)]]
    if not all(store.has(digest) for digest in wanted):
        return False
    with making.content_lock(engine):
        try:
            mechanism.pull(
                references.parse("localhost/unnamed"),
                store=store,
                snapshots=engine.snapshots,
                platform=parse_config(row.config.encode(), row.id).platform,
                progress=progress,
                source=StoreSource(store),
                at=row.manifest,
            )
        except (errors.NotFound, errors.Corrupt):
            return False
    return True
