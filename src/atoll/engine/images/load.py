"""load: images out of an archive or an image layout, with the names they have there."""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.events import note as events
from atoll.engine.images import making, moving
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine
    from atoll.images.archive import ArchiveSource
    from atoll.images.layout import LayoutSource
    from atoll.images.places import Place
    from atoll.images.values import Progress
    from atoll.spec.reference import Reference


class Loaded(Value):
    """An image that was loaded: its id, and its names if it has any."""

    id: str
    names: tuple[str, ...]


def load(
    engine: Engine,
    path: str | int,
    *,
    progress: Callable[[Progress], None] | None = None,
    platform: str | None = None,
    named: bool = True,
) -> list[Loaded]:
    """Load every image of a docker-archive, an image layout in a directory or an archive of one, compressed or not;
    `path` may be a descriptor (standard input). An index gives its image for this machine, or for `platform`, and is
    kept as a whole where the archive holds all of it.

    Without `named` no image gets the name that the archive has for it. The policy is asked as for a pull from that
    transport. Raises NotFound, Corrupt, Exhausted, Denied.
    """
    done: list[Loaded] = []
    with making.content_lock(engine):
        source = _opened(path)
        try:
            for at, names in _every(source):
                reference = names[0] if names else references.parse("localhost/unnamed")
                image = moving.move(
                    engine,
                    _place(source, path, at),
                    source,
                    at,
                    reference,
                    names=names if named else [],
                    progress=progress,
                    platform=platform,
                    all_platforms=_is_whole(source, at),
                )
                events.note(engine, "image", "load", image.config_digest, name=names[0].familiar if names else "")
                done.append(Loaded(id=image.config_digest, names=tuple([one.familiar for one in names])))
        finally:
            source.close()
    making.keep_within(engine, [one.id for one in done])
    return done


def _opened(path: str | int) -> ArchiveSource | LayoutSource:
    """Whichever it is: manifest.json makes a docker-archive (Docker's own have both)."""
    from atoll.images.archive import ArchiveSource
    from atoll.images.layout import LayoutSource
    from atoll.images.shelf import open_shelf

    files = open_shelf(path)
    if files.size("manifest.json") is not None:
        return ArchiveSource(path, files)
    if files.size("index.json") is not None:
        return LayoutSource(path, files)
    files.close()
    raise errors.Corrupt(
        f"{path if isinstance(path, str) else 'standard input'} is neither a docker-archive nor an image layout",
        hint="a file system's archive is for 'atoll import'",
    )


def _place(source: ArchiveSource | LayoutSource, path: str | int, at: str) -> Place:
    """The transport and scope under which a policy knows it."""
    from atoll.images.layout import LayoutSource
    from atoll.images.places import Place

    where = path if isinstance(path, str) else ""
    if not isinstance(source, LayoutSource):
        return Place(transport="docker-archive", path=where, at=at)
    return Place(transport="oci" if os.path.isdir(where) else "oci-archive", path=where, at=at)


def _is_whole(source: ArchiveSource | LayoutSource, at: str) -> bool:
    from atoll.images.layout import LayoutSource

    return isinstance(source, LayoutSource) and source.is_whole(at)


def _every(source: ArchiveSource | LayoutSource) -> list[tuple[str, list[Reference]]]:
    found: list[tuple[str, list[Reference]]] = []
    for at, named in source.every():
        names = named if isinstance(named, tuple) else (named,) if named else ()
        found.append((at, [one for name in names if (one := _reference(name)) is not None]))
    return found


def _reference(name: str) -> Reference | None:
    """A layout's name may be a mere tag (`latest`): that names no image here."""
    if "/" not in name and ":" not in name:
        return None
    reference = references.parse(name)
    return reference if reference.digest is None else None
