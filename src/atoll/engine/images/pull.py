"""pull: have an image moved here, then give it its name."""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.engine.images import making, moving
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
    return one(engine, name, progress=progress, platform=platform, all_platforms=all_platforms, options=options)


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
    from atoll.engine.images.registries import options as options_of
    from atoll.images import places

    if name == "host":
        raise errors.InvalidArgument("'host' is this machine itself: there is nothing to pull", hint="atoll run host")
    place = places.parse(name)
    with making.content_lock(engine):
        source = places.open_source(place, options or options_of(engine))
        try:
            at, reference = _what(place, source)
            image = moving.move(
                engine,
                place,
                source,
                at,
                reference,
                names=[reference],
                progress=progress,
                platform=platform,
                all_platforms=all_platforms,
            )
        finally:
            source.close()
    making.keep_within(engine, [image.config_digest])
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
