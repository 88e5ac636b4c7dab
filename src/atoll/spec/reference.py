"""Image references as people write them: `debian`, `localhost:5000/team/app:1.2`, `app@sha256:…`.

Holds: parsing by Docker's grammar (distribution/reference), the familiar and the full form.
Does not hold: what a name means in the store or at a registry. No `re`: this is on the path of `atoll run`.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.spec import digest as digests

DEFAULT_REGISTRY = "docker.io"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_TAG = _WORD | frozenset(".-")
_HOST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_HEX = frozenset("0123456789abcdefABCDEF")


class Reference(Value):
    """A parsed reference. `tag` and `digest` may both be there; then the digest decides and the tag is a label.

    `registry` is a host with an optional port (`docker.io`, `localhost:5000`, `[::1]:5000`).
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """Registry and repository: `docker.io/library/debian`."""
        return f"{self.registry}/{self.repository}"

    @property
    def full(self) -> str:
        """The unambiguous form: `docker.io/library/debian:latest`."""
        return self.name + self._suffix()

    @property
    def familiar_name(self) -> str:
        """The repository as Docker prints it: `debian`, `user/app`, `quay.io/team/app`."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        return self.repository.removeprefix(f"{DEFAULT_NAMESPACE}/")

    @property
    def familiar(self) -> str:
        """The short form with tag or digest: `debian:latest`."""
        return self.familiar_name + self._suffix()

    @property
    def at(self) -> str:
        """What to ask the registry for: the digest if there is one, otherwise the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def with_digest(self, digest: str) -> Reference:
        """The same repository at one digest, without tag: Docker's RepoDigests form."""
        return self.replace(tag=None, digest=digest)

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag

    def __str__(self) -> str:
        return self.familiar


def parse(text: str) -> Reference:
    """Parse what a person typed; without tag and digest, the tag is `latest`.

    Raises InvalidArgument naming the part that is wrong, in Docker's words ("invalid reference format").
    """
    if not text or text != text.strip():
        raise _invalid(text, "it is empty" if not text.strip() else "it has blanks around it")
    rest, at, digest_text = text.partition("@")
    digest = None
    if at:
        try:
            digest = digests.check(digest_text)
        except errors.InvalidArgument as error:
            raise _invalid(text, error.message) from None
    registry, path = _split_registry(rest)
    tag: str | None = None
    slash = path.rfind("/")
    colon = path.find(":", slash + 1)
    if colon >= 0:
        path, tag = path[:colon], path[colon + 1 :]
        _check_tag(text, tag)
    _check_registry(text, registry)
    _check_path(text, path)
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"{DEFAULT_NAMESPACE}/{path}"
    if len(registry) + 1 + len(path) > 255:
        raise _invalid(text, "the name is longer than 255 characters")
    if digests.valid("sha256:" + rest):
        raise _invalid(text, "64 hex digits are an image id, not a name")
    return Reference(registry=registry, repository=path, tag=tag if tag or digest else DEFAULT_TAG, digest=digest)


def _split_registry(rest: str) -> tuple[str, str]:
    """The first component is a registry if it has a dot or a port, is `localhost`, or has a capital letter."""
    first, slash, remainder = rest.partition("/")
    host = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    if not host:
        return DEFAULT_REGISTRY, rest
    if first in ("index.docker.io", "registry-1.docker.io"):
        first = DEFAULT_REGISTRY
    return first, remainder


def _check_registry(text: str, registry: str) -> None:
    host, port = registry, None
    if registry.startswith("["):
        host, bracket, tail = registry.partition("]")
        if not bracket or not (set(host[1:]) <= _HEX | {":", "."}) or ":" not in host[1:]:
            raise _invalid(text, f"{registry!r} is not an address in brackets")
        if tail and not tail.startswith(":"):
            raise _invalid(text, f"{tail!r} after the address in brackets")
        port = tail[1:] if tail else None
    else:
        host, colon, after = registry.partition(":")
        port = after if colon else None
        for label in host.split("."):
            if not label or not _HOST.issuperset(label) or label[0] == "-" or label[-1] == "-":
                raise _invalid(text, f"{host!r} is not a host name")
    if port is not None and not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        raise _invalid(text, f"{port!r} is not a port")


def _check_path(text: str, path: str) -> None:
    if path != path.lower():
        raise _invalid(text, "repository name must be lowercase")
    for component in path.split("/"):
        if not component:
            raise _invalid(text, "the repository name has an empty component")
        if not _component(component):
            raise _invalid(text, f"{component!r} may hold a-z and 0-9, parted by one of . _ __ or by dashes")


def _component(component: str) -> bool:
    """alphanumerics parted by `.`, `_`, `__` or any number of `-` (distribution/reference, "path-component")."""
    if component[0] not in _ALNUM or component[-1] not in _ALNUM:
        return False
    run = ""
    for char in component:
        if char in _ALNUM:
            if run and run not in (".", "_", "__") and run.strip("-"):
                return False
            run = ""
        elif char in "._-":
            run += char
        else:
            return False
    return True


def _check_tag(text: str, tag: str) -> None:
    if not tag:
        raise _invalid(text, "the tag is empty")
    if len(tag) > 128:
        raise _invalid(text, "the tag is longer than 128 characters")
    if not _TAG.issuperset(tag) or tag[0] in ".-":
        raise _invalid(text, f"{tag!r} is not a tag: letters, digits, _ . and -, not starting with . or -")


def _invalid(text: str, why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"invalid reference format: {text!r}: {why}")
