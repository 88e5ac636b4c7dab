"""The key that opens the vault: from a file, the kernel's keyring, or the user's memory.

Holds: `source_of`, `wrapping_key`. Does not hold: what is encrypted with it (`vault.py`). A key is never written
anywhere but into the file that is made for it at the first use.
Sources: `[secrets] key` in atoll.toml; keyrings(7), user-keyring(7); RFC 5869 (HKDF), RFC 7914 (scrypt).
"""

from __future__ import annotations

import os

from atoll.base import errors, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

_LEAST = 16
_MOST = 1 << 16
_SCRYPT_N = 1 << 15  # 32 MiB and about 0.1 s, OWASP's recommendation of 2023
_INFO = b"atoll secrets, key of keys, version 1"


def source_of(engine: Engine) -> str:
    """`file:PATH`, `keyring:NAME` or `prompt`: as set, else a file of this user's, apart from the data it opens."""
    if engine.config.secrets_key:
        return engine.config.secrets_key
    if engine.environ.get("ATOLL_DATA_ROOT"):  # a store on its own, away from the user's settings
        return f"file:{engine.paths.data}/secrets.key"
    if engine.uid == 0:
        return "file:/etc/atoll/secrets.key"
    home = engine.environ.get("XDG_CONFIG_HOME") or engine.environ.get("HOME", "") + "/.config"
    return f"file:{home}/atoll/secrets.key"


def wrapping_key(engine: Engine, source: str, salt: bytes, *, make: bool = False) -> bytes:
    """32 bytes derived from what `source` holds. `make`: a file that is not there is made, with a random key. Raises
    NotFound, Denied, InvalidArgument."""
    kind, _, place = source.partition(":")
    if kind == "file":
        return _stretched(_from_file(place, make=make), salt)
    if kind == "keyring":
        return _stretched(_from_keyring(place), salt)
    if kind == "prompt":
        return _remembered(_asked(engine), salt)
    raise errors.InvalidArgument(f"secrets.key: {source!r}", hint="file:PATH, keyring:NAME or prompt")


def _from_file(path: str, *, make: bool) -> bytes:
    try:
        if make and not os.path.lexists(path):
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            files.write_atomic(path, os.urandom(32).hex() + "\n", mode=0o600, sync=True)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            info = os.fstat(fd)
            if info.st_mode & 0o077 or info.st_uid not in (0, os.geteuid()):
                raise errors.Denied(f"the key file {path} is open to others", hint=f"run: chmod 600 {path}")
            content = os.read(fd, _MOST)
        finally:
            os.close(fd)
    except OSError as error:
        raise errors.from_os_error(
            error, "read the key of the secrets", hint="see [secrets] key in atoll.toml"
        ) from error
    return _enough(content.strip(), f"the key file {path}")


def _from_keyring(name: str) -> bytes:
    from atoll.linux import keyring

    try:
        content = keyring.read_user_key(name)
    except OSError as error:
        raise errors.NotFound(
            f"no key {name!r} in this user's keyring: {error.strerror}",
            hint=f"run: head -c 32 /dev/urandom | keyctl padd user {name} @u",
        ) from error
    return _enough(content, f"the key {name!r} of the keyring")


def _asked(engine: Engine) -> bytes:
    if engine.ask is None:
        raise errors.Denied("the secrets are locked by a passphrase, and nobody is there to ask for it")
    phrase = engine.ask("Passphrase of the secrets: ")
    if len(phrase) < 8:
        raise errors.InvalidArgument("the passphrase is too short", hint="8 characters at least")
    return phrase.encode()


def _enough(content: bytes, what: str) -> bytes:
    if len(content) < _LEAST:
        raise errors.InvalidArgument(f"{what} holds {len(content)} bytes", hint=f"{_LEAST} random ones at least")
    return content


def _stretched(content: bytes, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=_INFO).derive(content)


def _remembered(content: bytes, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=8, p=1).derive(content)
