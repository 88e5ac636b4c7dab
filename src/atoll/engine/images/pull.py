"""pull: have an image moved here, then give it its name."""

from __future__ import annotations

import time

from atoll.base import errors, files
from atoll.engine.images import garbage
from atoll.engine.store import ImageRow, LayerRow, TagRow
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine
    from atoll.images.values import Progress, PulledImage
    from atoll.spec.reference import Reference


def pull(
    engine: Engine, name: str, *, progress: Callable[[Progress], None] | None, platform: str | None
) -> PulledImage:
    """Pull and record. Until the row is there nobody may take the content for garbage: the images lock is shared from
    before the first look at the stores to after the row.

    Raises what `images.pull` does, InvalidArgument for `host`, which is no image of a registry.
    """
    from atoll.images import pull as mechanism
    from atoll.images.values import RegistryOptions
    from atoll.spec import platform as platforms

    reference = references.parse(name)
    if name == "host":
        raise errors.InvalidArgument("'host' is this machine itself: there is nothing to pull", hint="atoll run host")
    lock = files.FileLock(garbage.lock_path(engine))
    lock.acquire(shared=True)
    try:
        image = mechanism.pull(
            reference,
            store=engine.content(),
            snapshots=engine.snapshots,
            platform=platforms.parse(platform) if platform else None,
            options=RegistryOptions(insecure=engine.config.insecure_registries),
            progress=progress,
        )
        record(engine, reference, image)
    finally:
        lock.release()
    return image


def record(engine: Engine, reference: Reference, image: PulledImage) -> None:
    """One transaction: the image, its layers and blobs, and the name that now points at it."""
    now = time.time_ns()
    config = engine.content().read(image.config_digest).decode("utf-8")
    engine.store.add_image(
        ImageRow(
            id=image.config_digest,
            target=image.target_digest,
            manifest=image.manifest_digest,
            config=config,
            size=image.size,
            created_at=now,
        ),
        [
            LayerRow(
                blob=layer.digest,
                blob_size=layer.size,
                diff_id=layer.diff_id,
                chain_id=layer.chain_id,
                size=layer.unpacked_size,
            )
            for layer in image.layers
        ],
        list(image.blobs),
        TagRow(
            reference=reference.full,
            image=image.config_digest,
            repository=reference.name,
            tag=reference.tag if reference.digest is None else None,
            digest=image.target_digest,
            updated_at=now,
        ),
    )
