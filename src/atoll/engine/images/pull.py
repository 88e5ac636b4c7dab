"""pull: have an image moved here, then give it its name."""

from __future__ import annotations

import os
import time

from atoll.base import errors, files
from atoll.engine.images import garbage
from atoll.engine.store import ImageRow, LayerRow, TagRow
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.images.places import Place
    from atoll.images.source import Source
    from atoll.images.values import Progress, PulledImage, RegistryOptions
    from atoll.spec.reference import Reference


def pull(
    engine: Engine,
    name: str,
    *,
    progress: Callable[[Progress], None] | None,
    platform: str | None,
    all_platforms: bool = False,
    options: RegistryOptions | None = None,
) -> PulledImage:
    """Pull and record; `name` is a reference or another place (`oci:DIR`, `docker-archive:FILE`, …). Until the row is
    there nobody may take the content for garbage: the images lock is shared from before the first look at the stores
    to after the row.

    Raises what `images.pull` does, Denied by the policy, InvalidArgument for `host`, which is no image of a registry.
    """
    one = _pull if engine.config.registries_conf is None else _first_of
    try:
        return one(engine, name, progress=progress, platform=platform, all_platforms=all_platforms, options=options)
    except errors.Exhausted as error:
        try:
            garbage.collect(engine)  # the blobs that came are not to be what keeps the disk full
        except (OSError, errors.AtollError) as second:
            error.add_note(f"what came of it cannot be removed: {second}")
        raise


def _first_of(engine: Engine, name: str, **how: Any) -> PulledImage:
    """A short name may stand for several: the first that is there."""
    from atoll.engine.images.registries import candidates
    from atoll.images import places

    elsewhere = places.parse(name).transport != places.REGISTRY or name.startswith("docker://")
    found = (name,) if elsewhere else candidates(engine, name)
    for one in found[:-1]:
        try:
            return _pull(engine, one, **how)
        except (errors.NotFound, errors.Denied, errors.Unavailable):  # Podman goes on, whatever the reason
            continue
    return _pull(engine, found[-1], **how)


def _pull(
    engine: Engine,
    name: str,
    *,
    progress: Callable[[Progress], None] | None,
    platform: str | None,
    all_platforms: bool = False,
    options: RegistryOptions | None = None,
) -> PulledImage:
    from atoll.engine.images.admission import Admission
    from atoll.engine.images.registries import options as options_of
    from atoll.images import places
    from atoll.images import pull as mechanism
    from atoll.spec import platform as platforms

    if name == "host":
        raise errors.InvalidArgument("'host' is this machine itself: there is nothing to pull", hint="atoll run host")
    place = places.parse(name)
    given = options or options_of(engine)
    lock = files.FileLock(garbage.lock_path(engine))
    lock.acquire(shared=True)
    try:
        source = places.open_source(place, given)
        try:
            at, reference = _what(place, source)
            admission = Admission(engine, place, reference, source)
            fresh = not engine.store.read("SELECT 1 FROM tags WHERE reference = ?", reference.full)
            image = mechanism.pull(
                reference,
                store=engine.content(),
                snapshots=engine.snapshots,
                platform=platforms.parse(platform) if platform else None,
                progress=progress,
                source=source,
                at=at,
                all_platforms=all_platforms,
                fresh=fresh,
                check=admission.check,
            )
        finally:
            source.close()
        record(engine, reference, image)
        admission.remember(image.config_digest)
    finally:
        lock.release()
    if engine.config.storage_keep:
        from atoll.engine.images.budget import keep_within

        keep_within(engine, (image.config_digest,))
    return image


def _what(place: Place, source: Source) -> tuple[str, Reference]:
    """What to ask the source for, and the name that the image is to have here. As Podman: an archive's own names; a
    layout's, if they are whole references; otherwise `localhost/FOLDER:NAME`."""
    if place.reference is not None:
        return (place.reference.at if place.transport == "docker" else place.at), place.reference
    known = source.names()
    at = place.at or (known[0] if len(known) == 1 else "")
    if place.transport == "docker-archive" and at and not at.startswith("@"):
        return at, references.parse(at)
    if "/" in at or ":" in at:
        return at, references.parse(at)
    folder = os.path.basename(os.path.abspath(place.path)).lower().removesuffix(".tar")
    safe = "".join([c if c.isascii() and c.isalnum() else "-" for c in folder]).strip("-") or "image"
    return at, references.parse(f"localhost/{safe}:{at.strip('@') or references.DEFAULT_TAG}")


def record(engine: Engine, reference: Reference, image: PulledImage) -> None:
    """One transaction: the image, its layers and blobs, and the name that now points at it. None when all is as it
    was."""
    if not image.fetched and _is_recorded(engine, reference, image):
        return
    now = time.time_ns()
    config = image.artifact or engine.content().read(image.config_digest).decode("utf-8")
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


def _is_recorded(engine: Engine, reference: Reference, image: PulledImage) -> bool:
    """Whether the rows say just this already, so that nothing needs to be written."""
    known = engine.store.read(
        "SELECT i.target, i.manifest, t.digest FROM tags t JOIN images i ON i.id = t.image"
        " WHERE t.reference = ? AND i.id = ?",
        reference.full,
        image.config_digest,
    )
    if known != [(image.target_digest, image.manifest_digest, image.target_digest)]:
        return False
    kept = {row[0] for row in engine.store.read("SELECT digest FROM blobs WHERE image = ?", image.config_digest)}
    return kept.issuperset(image.blobs)
