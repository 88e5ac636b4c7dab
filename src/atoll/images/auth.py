"""Credentials for registries: where Docker and Podman keep them, and the challenge a registry answers with.

Holds: reading `auths` of config.json and auth.json, parsing WWW-Authenticate (RFC 9110, 11.6.1; distribution-spec's
token flow). Does not hold: sending anything (`registry.py`), `login`, credential helpers.
"""

from __future__ import annotations

import base64
import binascii
import os

from atoll.base import errors, files, jsontext
from atoll.base.value import Value
from atoll.images.values import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_DOCKER_HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


class Challenge(Value):
    """What a 401 asks for: `scheme` is "bearer" or "basic"."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def usual_files() -> tuple[str, ...]:
    """Where credentials are looked for, in order: what `docker login` and `podman login` write."""
    env = os.environ
    home = os.path.expanduser("~")
    runtime = env.get("XDG_RUNTIME_DIR")
    found = [env.get("REGISTRY_AUTH_FILE"), f"{runtime}/containers/auth.json" if runtime else None]
    found.append(f"{env.get('XDG_CONFIG_HOME') or home + '/.config'}/containers/auth.json")
    found.append(f"{env.get('DOCKER_CONFIG') or home + '/.docker'}/config.json")
    return tuple([path for path in found if path])


def find(host: str, paths: Sequence[str]) -> Credentials | None:
    """The credentials for a registry from the first file that has some. Raises InvalidArgument for a bad file."""
    for path in paths:
        try:
            text = files.read_bytes(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        try:
            document = jsontext.loads(text)
            auths = document.get("auths") or {}
            found = _entry(host, auths)
            if found is not None:
                return _credentials(found)
        except (ValueError, AttributeError, TypeError, binascii.Error) as error:
            raise errors.InvalidArgument(
                f"cannot read the credentials in {path}: {error}", hint="log in again, or mend the file"
            ) from None
    return None


def _entry(host: str, auths: dict[str, Any]) -> dict[str, Any] | None:
    names = _DOCKER_HUB if host == "docker.io" else (host, f"https://{host}", f"https://{host}/", f"http://{host}")
    for name in names:
        entry = auths.get(name)
        if isinstance(entry, dict) and entry:
            return entry
    for name, entry in auths.items():
        bare, _, path = name.removeprefix("https://").removeprefix("http://").partition("/")
        if bare == host and path.strip("/") in ("", "v1", "v2") and isinstance(entry, dict) and entry:
            return entry
    return None


def _credentials(entry: dict[str, Any]) -> Credentials | None:
    if entry.get("auth"):
        plain = base64.b64decode(entry["auth"], validate=False).decode("utf-8").rstrip("\0")
        username, colon, password = plain.partition(":")
        if not colon:
            raise ValueError("an auth entry without ':'")
        return Credentials(username=username, password=password)
    if entry.get("username"):
        return Credentials(username=str(entry["username"]), password=str(entry.get("password", "")))
    return None


def basic(credentials: Credentials) -> str:
    """The value of an Authorization header."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")


def parse_challenge(headers: Sequence[str]) -> Challenge | None:
    """The first challenge that Atoll can answer, bearer before basic; None if there is none."""
    found: list[Challenge] = []
    for header in headers:
        scheme, _, rest = header.strip().partition(" ")
        values = _parameters(rest)
        if scheme.lower() == "bearer" and values.get("realm"):
            found.append(
                Challenge(
                    scheme="bearer",
                    realm=values["realm"],
                    service=values.get("service", ""),
                    scope=values.get("scope", ""),
                )
            )
        elif scheme.lower() == "basic":
            found.append(Challenge(scheme="basic", realm=values.get("realm", "")))
    found.sort(key=lambda challenge: challenge.scheme != "bearer")
    return found[0] if found else None


def _parameters(text: str) -> dict[str, str]:
    """`key="value, with commas", key=token` pairs."""
    values: dict[str, str] = {}
    position = 0
    while position < len(text):
        equals = text.find("=", position)
        if equals < 0:
            break
        key = text[position:equals].strip(" ,\t").lower()
        position = equals + 1
        if text[position : position + 1] == '"':
            value, position = _quoted(text, position + 1)
        else:
            comma = text.find(",", position)
            end = comma if comma >= 0 else len(text)
            value, position = text[position:end].strip(), end
        values.setdefault(key, value)
    return values


def _quoted(text: str, position: int) -> tuple[str, int]:
    out = []
    while position < len(text) and text[position] != '"':
        if text[position] == "\\" and position + 1 < len(text):
            position += 1
        out.append(text[position])
        position += 1
    return "".join(out), position + 1
