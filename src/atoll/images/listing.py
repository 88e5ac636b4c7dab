"""What a registry lists: tags, repositories, referrers; and deleting (distribution-spec 1.1, "Content Discovery",
"Content Management").

Holds: `tags`, `catalog`, `referrers` (the API, or the tag schema where a registry lacks it), `delete_manifest`,
`delete_blob`. Does not hold: requests themselves (`registry.py`).
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.images import url as urls
from atoll.images.registry import pull_scope
from atoll.images.source import Document
from atoll.spec import digest as digests
from atoll.spec.image import MAX_MANIFEST_BYTES, OCI_INDEX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.images.registry import Registry

_PAGE = 100
_MOST_PAGES = 1000
_LIMIT = 4 << 20


def tags(registry: Registry, repository: str) -> Iterator[str]:
    """The tags of a repository, page by page. Raises NotFound, Denied, Unavailable, Corrupt."""
    return _pages(registry, f"{repository}/tags/list?n={_PAGE}", pull_scope(repository), "tags", repository)


def catalog(registry: Registry) -> Iterator[str]:
    """The repositories of a registry, where it tells. Raises Denied, Unavailable, NotFound, Corrupt."""
    return _pages(registry, f"_catalog?n={_PAGE}", ("registry:catalog:*",), "repositories", "_catalog")


def _pages(registry: Registry, path: str, scopes: tuple[str, ...], key: str, what: str) -> Iterator[str]:
    seen: set[str] = set()
    for _ in range(_MOST_PAGES):
        response = registry.request("GET", path, scopes)
        if response.status != 200:
            raise registry.refused(response, what, key)
        following = _next(response.headers.get("Link"))
        try:
            names = jsontext.loads(registry.read(response, _LIMIT)).get(key) or []
            found = [str(name) for name in names]
        except (ValueError, AttributeError, TypeError):
            raise errors.Corrupt(f"registry {registry.host}: its list of {key} is malformed") from None
        fresh = [name for name in found if name not in seen]
        seen.update(fresh)
        yield from fresh
        if following is None or not fresh:
            return
        path = _same_registry(registry, following)


def _next(link: str) -> str | None:
    """The target of `Link: <…>; rel="next"` (RFC 8288)."""
    target, _, parameters = link.strip().partition(";")
    if not (target.startswith("<") and target.rstrip().endswith(">")) or "next" not in parameters:
        return None
    return target.rstrip()[1:-1]


def _same_registry(registry: Registry, link: str) -> str:
    """A link as a URL; one that leads elsewhere is refused."""
    base = urls.parse(f"{registry.base()}/v2/")
    try:
        place = urls.join(base, link)
    except ValueError as error:
        raise errors.Denied(f"registry {registry.host}: a link that is no address: {error}") from None
    if place.host != base.host:
        raise errors.Denied(f"registry {registry.host}: its list goes on at {place.host}")
    return f"{registry.base()}{place.target}"


def referrers(registry: Registry, repository: str, digest: str) -> Document | None:
    """The index of manifests whose subject is `digest`; None when nothing refers to it.

    By the API; a registry that answers 404 has none, and there the tag `sha256-…` leads to the index, which clients
    keep up to date. Raises Denied, Unavailable, Corrupt.
    """
    response = registry.request(
        "GET", f"{repository}/referrers/{digest}", pull_scope(repository), headers={"Accept": OCI_INDEX}
    )
    kind = response.headers.get("Content-Type").partition(";")[0].strip()
    if response.status == 200 and kind == OCI_INDEX:
        body = registry.read(response, MAX_MANIFEST_BYTES)
        return Document(body=body, media_type=OCI_INDEX, digest=digests.of(body))
    if response.status in (401, 403):
        raise registry.refused(response, repository, digest)
    registry.discard(response)
    return by_tag(registry, repository, digest)


def referrers_tag(digest: str) -> str:
    """The tag of the fallback: the digest with a dash, at most 128 characters."""
    return digest.replace(":", "-", 1)[:128]


def by_tag(registry: Registry, repository: str, digest: str) -> Document | None:
    """The fallback's index."""
    try:
        found = registry.manifest(repository, referrers_tag(digest))
    except errors.NotFound:
        return None
    return found if found.media_type.partition(";")[0] == OCI_INDEX else None


def delete_manifest(registry: Registry, repository: str, at: str) -> None:
    """Delete a manifest by digest, or a tag. Raises NotFound, Denied, Unsupported where the registry does not allow
    it."""
    _delete(registry, repository, f"{repository}/manifests/{at}", at)


def delete_blob(registry: Registry, repository: str, digest: str) -> None:
    """Delete a blob. Raises as `delete_manifest`."""
    _delete(registry, repository, f"{repository}/blobs/{digest}", digest)


def _delete(registry: Registry, repository: str, path: str, at: str) -> None:
    response = registry.request("DELETE", path, (f"repository:{repository}:delete,pull,push",))
    if response.status not in (200, 202, 204):
        raise registry.refused(response, repository, at, doing="delete")
    registry.discard(response)
