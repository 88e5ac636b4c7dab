"""Credential helpers: the programs `docker-credential-NAME`, which keep secrets in a keychain.

Holds: their protocol (`get`, `store`, `erase`: JSON on stdin and stdout). Does not hold: which registry is whose
(`credentials.py`). Source: docker/docker-credential-helpers, README.md, "Development".
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.images.values import Credentials

_SECONDS = 60
_NOT_FOUND = "credentials not found in native keychain"
_IDENTITY = "<token>"
_MAX_ANSWER = 1 << 20


def get(helper: str, server: str) -> Credentials | None:
    """What the helper keeps for a server; None when nothing. Raises Unavailable when it fails, NotFound when there is
    no such program."""
    code, answer = _run(helper, "get", server.encode())
    if code != 0:
        if _NOT_FOUND in answer:
            return None
        raise _failed(helper, "get", answer)
    try:
        document = jsontext.loads(answer)
        username, secret = str(document["Username"]), str(document["Secret"])
    except (ValueError, KeyError, TypeError):
        raise _failed(helper, "get", "its answer is not what the protocol says") from None
    if username == _IDENTITY:
        return Credentials(identity_token=secret)
    return Credentials(username=username, password=secret)


def store(helper: str, server: str, credentials: Credentials) -> None:
    """Have it keep them. Raises as `get`."""
    name, secret = credentials.username, credentials.password
    if credentials.identity_token:
        name, secret = _IDENTITY, credentials.identity_token
    given = jsontext.dumps({"ServerURL": server, "Username": name, "Secret": secret})
    code, answer = _run(helper, "store", given.encode())
    if code != 0:
        raise _failed(helper, "store", answer)


def erase(helper: str, server: str) -> bool:
    """Have it forget them; whether there were any. Raises as `get`."""
    if get(helper, server) is None:
        return False
    code, answer = _run(helper, "erase", server.encode())
    if code != 0 and _NOT_FOUND not in answer:
        raise _failed(helper, "erase", answer)
    return True


def _run(helper: str, verb: str, given: bytes) -> tuple[int, str]:
    import subprocess

    if not helper or "/" in helper or "\0" in helper:
        raise errors.InvalidArgument(f"{helper!r} is no name of a credential helper")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, verb], input=given, stdout=subprocess.PIPE, timeout=_SECONDS, check=False)
    except FileNotFoundError:
        raise errors.NotFound(
            f"the credential helper {program} is not installed",
            hint="install it, or take it out of config.json (credsStore, credHelpers)",
        ) from None
    except subprocess.TimeoutExpired:
        raise errors.Unavailable(f"the credential helper {program} does not answer") from None
    except OSError as error:
        raise errors.from_os_error(error, f"run {program}") from error
    return done.returncode, done.stdout[:_MAX_ANSWER].decode("utf-8", "replace").strip()


def _failed(helper: str, verb: str, answer: str) -> errors.Unavailable:
    words = "".join([c for c in answer[:300] if c.isprintable()])
    return errors.Unavailable(f"docker-credential-{helper} {verb} failed: {words or 'without a word'}")
