"""Podman's registries.conf as a source of settings: registries with their mirrors, short names, where to search.

Holds: `read` (the file and its drop-ins), `RegistriesConf.candidates` (what a short name may stand for). Not: whether
it is read at all (`[registries] conf` of atoll.toml), falling through mirrors (`remote.py`). Source:
containers-registries.conf(5), version 2; version 1 is refused by name.

    unqualified-search-registries = ["quay.io", "docker.io"]
    short-name-mode = "permissive"
    [aliases]
    "fedora" = "registry.fedoraproject.org/fedora"
    [[registry]]
    prefix = "example.com/team"          location, insecure, blocked, mirror-by-digest-only
    [[registry.mirror]]                  location, insecure, pull-from-mirror
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.base.value import Value
from atoll.images.values import Mirror, RegistrySettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_PULLS = {"all": "all", "digest-only": "digests", "tag-only": "tags"}
_MODES = ("disabled", "permissive", "enforcing")
_REGISTRY = ("prefix", "location", "insecure", "blocked", "mirror-by-digest-only", "mirror")
_TOP = (
    "unqualified-search-registries",
    "short-name-mode",
    "aliases",
    "registry",
    "credential-helpers",
    "additional-layer-store-auth-helper",
)


class RegistriesConf(Value):
    """What the files say. `aliases` are (short name, full name); `search` is asked in its order for names without a
    registry that no alias has; `mode` is `short-name-mode`."""

    registries: tuple[RegistrySettings, ...] = ()
    search: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    mode: str = "permissive"

    def candidates(self, name: str) -> tuple[str, ...]:
        """The names that a short one stands for, in the order to try; itself if it is not short, or nothing is said
        about it. Raises InvalidArgument where `enforcing` allows no guess."""
        path, mark, rest = _split(name)
        first = path.partition("/")[0]
        if name.startswith("sha256:") or ("/" in path and ("." in first or ":" in first or first == "localhost")):
            return (name,)
        alias = dict(self.aliases).get(path)
        if alias is not None:
            return (alias + mark + rest,)
        if len(self.search) > 1 and self.mode == "enforcing":
            raise errors.InvalidArgument(
                f"short name {name!r} could be of any of {', '.join(self.search)} (short-name-mode = enforcing)",
                hint="write the registry too, or name an alias in registries.conf",
            )
        return tuple([f"{registry}/{name}" for registry in self.search]) or (name,)


def _split(name: str) -> tuple[str, str, str]:
    """A name, the mark before its tag or digest, and that."""
    path, mark, rest = name.partition("@")
    if mark:
        return path, mark, rest
    head, slash, last = name.rpartition("/")
    last, mark, rest = last.partition(":")
    return head + slash + last, mark, rest


def read(path: str) -> RegistriesConf:
    """The file, then the `*.conf` of `<path>.d` in their order: a later table of the same prefix, and a later list or
    alias, count. Raises NotFound, InvalidArgument naming the file."""
    found = RegistriesConf()
    try:
        names = sorted(one for one in os.listdir(path + ".d") if one.endswith(".conf"))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    for one in (path, *[f"{path}.d/{name}" for name in names]):
        try:
            content = files.read_bytes(one)
        except FileNotFoundError:
            raise errors.NotFound(f"{one} does not exist", hint="see [registries] conf in atoll.toml") from None
        except OSError as error:
            raise errors.from_os_error(error, "read the registries' settings") from error
        found = parse(content, one, found)
    return found


def parse(content: bytes, path: str, base: RegistriesConf) -> RegistriesConf:
    """One file over what was read before. Raises InvalidArgument."""
    import tomllib

    try:
        document = tomllib.loads(content.decode("utf-8"))
        if "registries" in document:
            raise ValueError("it is of version 1 ([registries.search]), which Podman reads no more either")
        _only(document, _TOP, "the file")
        registries = [_registry(one) for one in _list(document.get("registry", []), dict, "registry")]
        search = document.get("unqualified-search-registries")
        mode = document.get("short-name-mode", base.mode) or base.mode
        if mode not in _MODES:
            raise ValueError(f"short-name-mode is one of {', '.join(_MODES)}")
        aliases = document.get("aliases", {})
        if not isinstance(aliases, dict) or not all(isinstance(one, str) for one in aliases.values()):
            raise ValueError("aliases are texts")
        given = tuple(_list(search, str, "unqualified-search-registries")) if search is not None else base.search
    except (ValueError, UnicodeDecodeError) as error:
        raise errors.InvalidArgument(f"{path}: {error}", hint="see containers-registries.conf(5)") from None
    fresh = {one.prefix for one in registries}
    # An empty text takes an alias away.
    merged = {key: value for key, value in {**dict(base.aliases), **aliases}.items() if value}
    return RegistriesConf(
        registries=(*[one for one in base.registries if one.prefix not in fresh], *registries),
        search=given,
        aliases=tuple(merged.items()),
        mode=mode,
    )


def _registry(table: dict[str, Any]) -> RegistrySettings:
    _only(table, _REGISTRY, "registry")
    location, prefix = _text(table, "location"), _text(table, "prefix")
    name = prefix or location
    if not name:
        raise ValueError("a registry needs a prefix or a location")
    if not location and name.startswith("*.") and table.get("mirror"):
        raise ValueError(f"{name}: mirrors of a wildcard need a location")
    digests = _flag(table, "mirror-by-digest-only")
    mirrors = [_mirror(one, digests_only=digests) for one in _list(table.get("mirror", []), dict, "mirror")]
    return RegistrySettings(
        prefix=name.rstrip("/"),
        location=location if location and location != name else None,
        insecure=_flag(table, "insecure"),
        blocked=_flag(table, "blocked"),
        mirrors=tuple(mirrors),
    )


def _mirror(table: dict[str, Any], *, digests_only: bool) -> Mirror:
    _only(table, ("location", "insecure", "pull-from-mirror"), "mirror")
    location = _text(table, "location")
    pull = table.get("pull-from-mirror") or "all"
    if not location or pull not in _PULLS:
        raise ValueError(f"a mirror has a location, and pull-from-mirror is one of {', '.join(_PULLS)}")
    return Mirror(
        location=location, insecure=_flag(table, "insecure"), pull="digests" if digests_only else _PULLS[pull]
    )


def _only(table: dict[str, Any], known: Sequence[str], what: str) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ValueError(f"{what} has no {', '.join(unknown)}")


def _list(value: Any, kind: type, what: str) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(one, kind) for one in value):
        raise ValueError(f"{what} is not what it should be")
    return value


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or "\0" in value or "\n" in value:
        raise ValueError(f"{key} is a text")
    return value.rstrip("/")


def _flag(table: dict[str, Any], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is true or false")
    return value
