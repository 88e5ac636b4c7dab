"""The tags of a repository at its registry."""

from __future__ import annotations

from atoll.base import errors
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.images.values import RegistryOptions


def remote_names(engine: Engine, name: str, options: RegistryOptions | None = None) -> list[str]:
    """Every `name:tag` that the registry has, in its order; signatures and referrers' tags are not images and left
    out. Raises InvalidArgument when `name` has a tag, NotFound, Denied, Unavailable."""
    from atoll.engine.images.registries import options as options_of
    from atoll.images import listing, remote
    from atoll.images.registry import Registry

    reference = references.parse(name)
    if ":" in name.rpartition("/")[2] or reference.digest is not None:
        raise errors.InvalidArgument("tag can't be used with --all-tags/-a")
    chosen = options or options_of(engine)
    place = remote.endpoints(reference, chosen)[-1]
    registry = Registry(place.host, chosen, insecure=place.insecure)
    try:
        found = list(listing.tags(registry, place.repository))
    finally:
        registry.close()
    return [f"{reference.familiar_name}:{tag}" for tag in found if not tag.startswith("sha256-")]
