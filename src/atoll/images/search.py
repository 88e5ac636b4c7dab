"""Searching for images: Docker Hub's search API (v1), which some registries have too, and the catalog elsewhere.

Holds: `search`, `Found`. Does not hold: requests (`registry.py`), the table (`cli/search.py`).
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.images import listing
from atoll.images import url as urls
from atoll.images.registry import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.images.values import RegistryOptions

HUB_INDEX = "index.docker.io"
_LIMIT = 4 << 20
_MOST_NAMES = 20_000


class Found(Value):
    """A repository that a registry offers. `stars` is 0 where nobody counts."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


def search(host: str, term: str, options: RegistryOptions, *, limit: int = 25) -> list[Found]:
    """What a registry finds for a term, best first. Raises Unsupported when it neither searches nor lists."""
    registry = Registry(HUB_INDEX if host == "docker.io" else host, options)
    try:
        found = _by_search(registry, host, term, limit)
        if found is None:
            found = _by_catalog(registry, host, term)
    finally:
        registry.close()
    return found[:limit]


def _by_search(registry: Registry, host: str, term: str, limit: int) -> list[Found] | None:
    """The v1 API; None where there is none."""
    path = urls.query("/v1/search", [("q", term), ("n", str(limit))])
    try:
        response = registry.request("GET", registry.settled() + path, ())
    except errors.Denied:
        return None
    if response.status != 200 or "json" not in response.headers.get("Content-Type"):
        registry.discard(response)
        return None
    try:
        results = jsontext.loads(registry.read(response, _LIMIT)).get("results") or []
        return [_entry(host, one) for one in results]
    except (ValueError, AttributeError, TypeError):
        raise errors.Corrupt(f"registry {host}: its answer to a search is malformed") from None


def _entry(host: str, one: dict[str, Any]) -> Found:
    name = str(one.get("name", ""))
    return Found(
        name=name if host == "docker.io" else f"{host}/{name}",
        description=" ".join(str(one.get("description") or "").split()),
        stars=int(one.get("star_count") or 0),
        official=bool(one.get("is_official")),
        automated=bool(one.get("is_automated")),
    )


def _by_catalog(registry: Registry, host: str, term: str) -> list[Found]:
    names = []
    try:
        for name in listing.catalog(registry):
            if term in name:
                names.append(Found(name=f"{host}/{name}"))
            if len(names) > _MOST_NAMES:
                break
    except errors.NotFound:
        raise errors.Unsupported(f"registry {host} neither searches nor lists its repositories") from None
    return names
