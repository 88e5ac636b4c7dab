"""Signatures kept beside registries: a folder or a web server, as Podman and Skopeo use for `--sign-by`.

Holds: `collect`, `base_of` (where the signatures of a repository lie). Does not hold: whether they are good
(`trust/gpg.py`). Sources: containers-registries.d(5), containers/image docs/signature-protocols.md.

    <base>/<repository>@sha256=<hex>/signature-1, -2, …           until one is missing

The base is said in YAML files of `registries.d`, by the longest scope that fits; where nothing is said it is a folder
of this machine.
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.base.value import Value
from atoll.images import settings
from atoll.images import url as urls
from atoll.spec import digest as digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from atoll.images.values import RegistryOptions
    from atoll.spec.reference import Reference

MOST = 32
MAX_SIGNATURE = 4 << 20
_SYSTEM = "/etc/containers/registries.d"
_SYSTEM_STORE = "/var/lib/containers/sigstore"


class Settings(Value):
    """Whose settings count: this user's; `folder` names a registries.d instead of the usual ones."""

    uid: int
    environ: Mapping[str, str]
    folder: str | None = None


def collect(
    reference: Reference,
    wanted: Sequence[str],
    options: RegistryOptions,
    where: Settings,
) -> list[bytes]:
    """Every signature that is kept for these digests. Raises Unavailable where a server does not answer, Denied for
    settings that cannot be read: what is not understood proves nothing."""
    base = base_of(reference, where)
    if base is None:
        return []
    found: list[bytes] = []
    for digest in dict.fromkeys(wanted):
        place = f"{base}/{reference.repository}@sha256={digests.encoded(digest)}"
        found += (
            _from_folder(place.removeprefix("file://")) if place.startswith("file://") else _from_web(place, options)
        )
    return found[:MOST]


def base_of(reference: Reference, where: Settings) -> str | None:
    """The URL below which the signatures of a repository lie; None where the settings name none."""
    home = where.environ.get("HOME", "")
    config = where.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    folder = where.folder or _SYSTEM
    if where.folder is None and where.uid != 0 and os.path.isdir(f"{config}/containers/registries.d"):
        folder = f"{config}/containers/registries.d"
    default, tables = _read_all(folder)
    for scope in scopes_of(reference):
        if scope in tables:
            return _lookaside(tables[scope])
    if default is not None:
        return _lookaside(default)
    data = where.environ.get("XDG_DATA_HOME") or f"{home}/.local/share"
    return f"file://{_SYSTEM_STORE if where.uid == 0 else data + '/containers/sigstore'}"


def scopes_of(reference: Reference) -> list[str]:
    """The scopes of an image, most special first: itself, its repository, each namespace, the host."""
    name = reference.name
    found = [f"{name}@{reference.digest}" if reference.digest else f"{name}:{reference.tag}", name]
    while "/" in name:
        name = name.rpartition("/")[0]
        found.append(name)
    return found


def _read_all(folder: str) -> tuple[dict[str, Any] | None, dict[str, dict[str, Any]]]:
    """`default-docker` and the tables of `docker` of all files. Raises Denied for a key that two of them have."""
    from atoll.spec.yaml_text import load_all

    default: dict[str, Any] | None = None
    tables: dict[str, dict[str, Any]] = {}
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return None, {}
    for name in [one for one in names if one.endswith(".yaml")]:
        path = f"{folder}/{name}"
        try:
            documents = load_all(files.read_bytes(path), path)
        except (OSError, errors.InvalidArgument) as error:
            raise _unreadable(path, error) from None
        for document in documents:
            if not isinstance(document, dict):
                raise _unreadable(path, "it is no mapping")
            if document.get("default-docker"):
                if default is not None:
                    raise _unreadable(path, "default-docker is there twice")
                default = _table(document["default-docker"], path)
            for scope, table in (document.get("docker") or {}).items():
                if scope in tables:
                    raise _unreadable(path, f"{scope} is there twice")
                tables[scope] = _table(table, path)
    return default, tables


def _table(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unreadable(path, "a mapping is expected")
    return value


def _unreadable(path: str, why: object) -> errors.AtollError:
    return errors.Denied(f"{path} cannot be used: {why}", hint="see containers-registries.d(5)")


def _lookaside(table: dict[str, Any]) -> str | None:
    """`lookaside`, or `sigstore`, as it was called before."""
    base = table.get("lookaside", table.get("sigstore"))
    if base is None:
        return None
    if not isinstance(base, str) or not base.startswith(("file:///", "http://", "https://")):
        raise errors.Denied(f"lookaside {base!r} is no place for signatures", hint="file:///…, https://… or http://…")
    return base.rstrip("/")


def _from_folder(place: str) -> list[bytes]:
    found = []
    for number in range(1, MOST + 1):
        try:
            with open(f"{place}/signature-{number}", "rb") as file:
                found.append(file.read(MAX_SIGNATURE))
        except (FileNotFoundError, NotADirectoryError):
            break
        except OSError as error:
            raise errors.from_os_error(error, "read an image's signatures") from error
    return found


def _from_web(place: str, options: RegistryOptions) -> list[bytes]:
    from atoll.images.transport import Transport

    try:
        host = urls.parse(place).authority
    except ValueError as error:
        raise errors.Denied(f"lookaside {place!r}: {error}") from None
    if options.offline:
        raise errors.Unavailable(f"signatures at {host} are not asked for: offline mode is on")
    transport = Transport(host, options, insecure=settings.is_insecure(options, host))
    found = []
    try:
        for number in range(1, MOST + 1):
            response = transport.exchange("GET", f"{place}/signature-{number}", {})
            if response.status == 404:
                transport.drop(response)
                break
            if response.status != 200:
                transport.drop(response)
                raise errors.Unavailable(f"signatures at {host}: it answers {response.status}")
            content = b""
            while len(content) <= MAX_SIGNATURE and (part := response.read1(64 << 10)):
                content += part
            transport.drop(response)
            if len(content) > MAX_SIGNATURE:
                raise errors.Denied(f"signatures at {host}: one has more than {MAX_SIGNATURE} bytes")
            found.append(content)
    finally:
        transport.close()
    return found
