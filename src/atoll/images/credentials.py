"""Credentials for registries, where Docker and Podman keep them: config.json, auth.json, credential helpers.

Holds: `find`, `keep`, `forget`, which files are read and written. Does not hold: helpers' protocol (`helpers.py`),
sending anything (`registry.py`). A file is read as both tools read it: `credHelpers` for one registry, `credsStore`
for all, then `auths`; keys are Docker's (a host, or Docker Hub's old URL) or Podman's (a host with a path, the
longest first). Written as `docker login` writes: other keys stay, mode 0600, replaced as a whole.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.images import helpers
from atoll.images.values import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

HUB = "https://index.docker.io/v1/"
_HUB_NAMES = (HUB, "index.docker.io", "docker.io", "registry-1.docker.io")
_MAX_FILE = 4 << 20


def usual_files(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Where credentials are looked for, in order: what `atoll login`, `docker login` and `podman login` write."""
    env = os.environ if environ is None else environ
    home = env.get("HOME") or os.path.expanduser("~")
    runtime = env.get("XDG_RUNTIME_DIR")
    found = [env.get("REGISTRY_AUTH_FILE"), f"{env.get('DOCKER_CONFIG') or home + '/.docker'}/config.json"]
    found.append(f"{runtime}/containers/auth.json" if runtime else None)
    if os.geteuid() == 0:
        found.append("/run/containers/0/auth.json")
    found.append(f"{env.get('XDG_CONFIG_HOME') or home + '/.config'}/containers/auth.json")
    return tuple(dict.fromkeys([path for path in found if path]))


def file_to_write(environ: Mapping[str, str] | None = None) -> str:
    """Where `login` puts them: $REGISTRY_AUTH_FILE, or Docker's config.json."""
    env = os.environ if environ is None else environ
    if env.get("REGISTRY_AUTH_FILE"):
        return env["REGISTRY_AUTH_FILE"]
    folder = env.get("DOCKER_CONFIG") or (env.get("HOME") or os.path.expanduser("~")) + "/.docker"
    return folder + "/config.json"


def find(host: str, repository: str = "", paths: Sequence[str] | None = None) -> Credentials | None:
    """The credentials for a repository from the first file that has some. Raises InvalidArgument for a bad file,
    Unavailable for a helper that fails."""
    for path in usual_files() if paths is None else paths:
        document = _read(path)
        if document is None:
            continue
        try:
            found = _in_document(document, host, repository)
        except (ValueError, AttributeError, TypeError) as error:
            raise _bad(path, error) from None
        if found is not None:
            return found
    return None


def keep(host: str, credentials: Credentials, path: str) -> str:
    """Write them as `docker login` does, to the registry's helper, the store or the file itself. Returns where:
    the helper's name, or the path. Raises InvalidArgument, Unavailable, Denied."""
    document = _read(path) or {}
    helper = _helper(document, host)
    key = key_of(host)
    if helper is not None:
        helpers.store(helper, key, credentials)
        entry: dict[str, Any] = {}
    else:
        entry = _entry_of(credentials)
    auths = document.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise _bad(path, ValueError("auths is no object"))
    auths[key] = entry
    _write(path, document)
    return helper or path


def forget(host: str, path: str) -> bool:
    """Take them out of the file and its helper. Whether there were any."""
    document = _read(path)
    if document is None:
        return False
    helper = _helper(document, host)
    erased = helper is not None and helpers.erase(helper, key_of(host))
    auths = document.get("auths")
    known = [name for name in auths if _names(host, name)] if isinstance(auths, dict) else []
    for name in known:
        del document["auths"][name]
    if known:
        _write(path, document)
    return bool(known) or erased


def key_of(host: str) -> str:
    """What Docker calls a registry in its file and to helpers."""
    return HUB if host == "docker.io" else host


def known(host: str, paths: Sequence[str] | None = None) -> list[str]:
    """The files that have credentials for a host. Raises as `find`."""
    return [path for path in (usual_files() if paths is None else paths) if find(host, "", (path,)) is not None]


def _in_document(document: dict[str, Any], host: str, repository: str) -> Credentials | None:
    helper = _helper(document, host)
    if helper is not None:
        for key in _HUB_NAMES[:1] if host == "docker.io" else (host, f"https://{host}"):
            found = helpers.get(helper, key)
            if found is not None:
                return found
    for entry in _entries(document.get("auths") or {}, host, repository):
        found = _parse(entry)
        if found is not None:
            return found
    return None


def _helper(document: dict[str, Any], host: str) -> str | None:
    """Whose business a registry is: its own helper's, or the store's."""
    special = document.get("credHelpers") or {}
    names = ("docker.io", "index.docker.io", HUB) if host == "docker.io" else (host,)
    for name in names:
        if special.get(name):
            return str(special[name])
    store = document.get("credsStore")
    return str(store) if store else None


def _entries(auths: dict[str, Any], host: str, repository: str) -> Iterator[dict[str, Any]]:
    """Podman's keys with a path, the longest first, then whatever means the host."""
    path = repository
    while path:
        entry = auths.get(f"{host}/{path}")
        if isinstance(entry, dict) and entry:
            yield entry
        path = path.rpartition("/")[0]
    for name, entry in auths.items():
        if _names(host, name) and isinstance(entry, dict) and entry:
            yield entry


def _names(host: str, key: str) -> bool:
    """Whether a key of `auths` means this host as a whole: with or without scheme and API version."""
    bare, _, path = key.removeprefix("https://").removeprefix("http://").partition("/")
    same = bare == host or (host == "docker.io" and bare in _HUB_NAMES)
    return same and path.strip("/") in ("", "v1", "v2")


def _parse(entry: dict[str, Any]) -> Credentials | None:
    import base64

    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        plain = base64.b64decode(str(entry["auth"]), validate=False).decode("utf-8").rstrip("\0")
        username, colon, password = plain.partition(":")
        if not colon:
            raise ValueError("an auth entry without ':'")
    identity, token = entry.get("identitytoken"), entry.get("registrytoken")
    if not (username or identity or token):
        return None
    return Credentials(
        username=username,
        password=password,
        identity_token=str(identity) if identity else None,
        registry_token=str(token) if token else None,
    )


def _entry_of(credentials: Credentials) -> dict[str, Any]:
    import base64

    pair = f"{credentials.username}:{credentials.password}".encode()
    entry = {"auth": base64.b64encode(pair).decode("ascii")}
    if credentials.identity_token:
        entry["identitytoken"] = credentials.identity_token
    return entry


def _read(path: str) -> dict[str, Any] | None:
    try:
        if os.stat(path).st_size > _MAX_FILE:
            raise _bad(path, ValueError("it is too large"))
        text = files.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    if not text.strip():
        return None
    try:
        document = jsontext.loads(text)
    except ValueError as error:
        raise _bad(path, error) from None
    if not isinstance(document, dict):
        raise _bad(path, ValueError("it is no JSON object"))
    return document


def _bad(path: str, error: Exception) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"cannot read the credentials in {path}: {error}", hint="log in again, or mend the file"
    )


def _write(path: str, document: dict[str, Any]) -> None:
    import json

    real = os.path.realpath(path)  # a linked file stays where it is, as Docker leaves it
    try:
        os.makedirs(os.path.dirname(real), 0o700, exist_ok=True)
        files.write_atomic(real, json.dumps(document, indent="\t", ensure_ascii=False) + "\n", mode=0o600, sync=True)
    except OSError as error:
        raise errors.from_os_error(error, "keep the credentials") from error
