"""How a person names where images are: `debian`, `docker://…`, `oci:DIR:TAG`, `docker-archive:FILE:NAME:TAG`, …

Holds: `parse` and `Place` (the transports of containers-transports(5)), `open_source`, `open_destination`. Does not
hold: what is behind them (`source.py` lists it).

    NAME, docker://NAME               a registry's repository
    oci:DIR[:NAME], oci-archive:FILE[:NAME]      an image layout; NAME is its org.opencontainers.image.ref.name
    docker-archive:FILE[:NAME:TAG]    what `docker save` writes
    docker-daemon:NAME:TAG            the daemon behind $DOCKER_HOST or /var/run/docker.sock
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.images.source import Destination, Source
    from atoll.images.values import RegistryOptions
    from atoll.spec.reference import Reference

REGISTRY = "docker"
TRANSPORTS = (REGISTRY, "oci", "oci-archive", "docker-archive", "docker-daemon")


class Place(Value):
    """A parsed place. `path` is empty for registries and daemons, `at` what to ask the source for ("": the only
    image); `reference` is set for registries and daemons."""

    transport: str
    path: str = ""
    at: str = ""
    reference: Reference | None = None

    def __str__(self) -> str:
        if self.reference is not None:
            prefix = "" if self.transport == REGISTRY else self.transport + ":"
            return prefix + self.reference.familiar
        return f"{self.transport}:{self.path}" + (f":{self.at}" if self.at else "")


def parse(text: str) -> Place:
    """Where `text` leads. Raises InvalidArgument."""
    transport, colon, rest = text.partition(":")
    if not colon or transport not in TRANSPORTS:
        return Place(transport=REGISTRY, reference=references.parse(text))
    if transport == REGISTRY:
        if not rest.startswith("//"):  # `docker:24` is an image of Docker Hub
            return Place(transport=REGISTRY, reference=references.parse(text))
        return Place(transport=REGISTRY, reference=references.parse(rest[2:]))
    if transport == "docker-daemon":
        reference = references.parse(rest)
        return Place(transport=transport, at=reference.familiar, reference=reference)
    path, _, at = rest.partition(":")
    if not path:
        raise errors.InvalidArgument(f"invalid place {text!r}: no path after {transport}:")
    if transport == "docker-archive" and at:
        at = references.parse(at).familiar
    return Place(transport=transport, path=path, at=at)


def open_source(place: Place, options: RegistryOptions | None = None) -> Source:
    """What images of that place come from; the caller closes it. Raises NotFound, Corrupt, InvalidArgument."""
    if place.transport == REGISTRY:
        from atoll.images.remote import Repository

        assert place.reference is not None
        return Repository(place.reference, options)
    if place.transport == "docker-daemon":
        from atoll.images.daemon import DaemonSource

        return DaemonSource(place.at)
    if place.transport == "docker-archive":
        from atoll.images.archive import ArchiveSource

        return ArchiveSource(place.path)
    from atoll.images.layout import LayoutSource

    return LayoutSource(place.path)


def open_destination(place: Place, options: RegistryOptions | None = None) -> Destination:
    """What images go to; the caller finishes and closes it. Raises Conflict, Denied, InvalidArgument."""
    if place.transport == REGISTRY:
        from atoll.images.push import RepositoryDestination

        assert place.reference is not None
        return RepositoryDestination(place.reference, options)
    if place.transport == "docker-daemon":
        from atoll.images.daemon import DaemonDestination

        return DaemonDestination(place.at)
    if place.transport == "docker-archive":
        from atoll.images.archive import ArchiveDestination

        return ArchiveDestination(place.path)
    from atoll.images.layout import LayoutDestination

    return LayoutDestination(place.path, tar=place.transport == "oci-archive")
