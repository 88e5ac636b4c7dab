"""An image's layers for another id map of the same ordinary user: unpacked once more, from the blobs that are here.

Holds: `snapshots_for`. Root needs none of it: the kernel maps root's layers (`runtime/detached.py`). What is
unpacked here goes with the image (`garbage.py`).
"""

from __future__ import annotations

from atoll.base import errors, files, units
from atoll.engine.images.garbage import lock_path
from atoll.snapshots.store import Snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.engine.engine import Engine
    from atoll.engine.store import ImageRow
    from atoll.images.source import Document
    from atoll.images.values import PulledLayer
    from atoll.spec.idmap import RootlessMap


def snapshots_for(engine: Engine, image: ImageRow, idmap: RootlessMap) -> Snapshots:
    """The snapshots of that map, with the image's layers; a copy that is made is told in the engine's warnings,
    with its size. Raises NotFound for a blob that is not here any more, and what unpacking does."""
    snapshots = Snapshots(engine.paths.snapshots, idmap)
    chains = engine.store.chain_ids(image.id)
    missing = snapshots.missing(chains)
    if not missing:
        return snapshots
    from atoll.images.transfer import Transfer

    # Shared, as for a pull: nobody takes what is being made for garbage.
    lock = files.FileLock(lock_path(engine))
    lock.acquire(shared=True)
    try:
        layers = _layers(engine, image)
        Transfer(_Nowhere(), engine.content(), snapshots, lambda progress: None).run(layers)
    finally:
        lock.release()
    size = sum([snapshots.layer_usage(chain).bytes for chain in missing])
    engine.warnings.append(
        f"the image was unpacked once more for this map of ids: {len(missing)} layers, {units.show_size(size)}, "
        "kept for the next time"
    )
    return snapshots


def _layers(engine: Engine, image: ImageRow) -> list[PulledLayer]:
    from atoll.images.values import PulledLayer
    from atoll.spec.image import Manifest, parse_document

    manifest = parse_document(engine.content().read(image.manifest), None, f"manifest {image.manifest}")
    rows = engine.store.layers(image.id)
    if not isinstance(manifest, Manifest) or len(manifest.layers) != len(rows):
        raise errors.Corrupt(f"the manifest of image {image.id} does not fit its layers", hint="pull the image again")
    return [
        PulledLayer(
            digest=row.blob,
            media_type=descriptor.media_type,
            size=row.blob_size,
            diff_id=row.diff_id,
            chain_id=row.chain_id,
        )
        for row, descriptor in zip(rows, manifest.layers, strict=True)
    ]


class _Nowhere:
    """A source that has nothing: what is not in the content store is not to be had."""

    where = "this machine"

    def digest(self, at: str) -> str | None:
        return None

    def document(self, at: str) -> Document:
        raise self._absent(at)

    def blob(self, digest: str, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
        raise self._absent(digest)

    def names(self) -> tuple[str, ...]:
        return ()

    def stop(self) -> None:
        return

    def close(self) -> None:
        return

    @staticmethod
    def _absent(what: str) -> errors.NotFound:
        return errors.NotFound(f"{what} is not here any more", hint="pull the image again")
