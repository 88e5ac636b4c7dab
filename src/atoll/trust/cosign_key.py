"""Private keys as cosign, skopeo and podman keep them: PKCS#8 in NaCl's secretbox under a scrypt passphrase.

Holds: `encrypt`, `decrypt`, `is_one`. Does not hold: keys as such (`keys.py`). The container is go-securesystemslib's
"encrypted" JSON in a PEM block; secretbox is XSalsa20-Poly1305 ("Cryptography in NaCl", 2009; "Extending the Salsa20
nonce", 2011). Salsa20 is not in the library that Atoll uses, so its core is here: 40 lines, for a file of one
kilobyte that its owner wrote. Poly1305 and scrypt are the library's.
"""

from __future__ import annotations

import base64
import os

from atoll.base import errors, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TYPES = (b"ENCRYPTED SIGSTORE PRIVATE KEY", b"ENCRYPTED COSIGN PRIVATE KEY")
_N, _R, _P = 65536, 8, 1
_MASK = 0xFFFFFFFF
_SIGMA = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
_MOST = 1 << 16


def is_one(pem: bytes) -> bool:
    """Whether this is a key of this form."""
    return any(b"-----BEGIN " + kind + b"-----" in pem for kind in _TYPES)


def encrypt(der: bytes, passphrase: bytes) -> bytes:
    """The PEM of a PKCS#8 key under a passphrase (which may be empty: cosign allows that)."""
    salt, nonce = os.urandom(32), os.urandom(24)
    key = _scrypt(passphrase, salt, _N, _R, _P)
    document = {
        "kdf": {"name": "scrypt", "params": {"N": _N, "r": _R, "p": _P}, "salt": _text(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": _text(nonce)},
        "ciphertext": _text(seal(key, nonce, der)),
    }
    return _armour(_TYPES[0], jsontext.dumps(document).encode())


def decrypt(pem: bytes, passphrase: bytes) -> bytes:
    """The PKCS#8 key. Raises InvalidArgument for a malformed file, Denied for a wrong passphrase."""
    try:
        document = jsontext.loads(_bare(pem))
        kdf, cipher = document["kdf"], document["cipher"]
        if kdf["name"] != "scrypt" or cipher["name"] != "nacl/secretbox":
            raise ValueError("another cipher")
        n, r, p = (int(kdf["params"][one]) for one in ("N", "r", "p"))
        if n > 1 << 20 or r > 32 or p > 16:
            raise ValueError("it asks for too much work")
        salt, nonce = base64.b64decode(kdf["salt"]), base64.b64decode(cipher["nonce"])
        sealed = base64.b64decode(document["ciphertext"])
        if len(nonce) != 24 or len(sealed) > _MOST:
            raise ValueError("its lengths are wrong")
        key = _scrypt(passphrase, salt, n, r, p)
    except (ValueError, KeyError, TypeError) as error:
        raise errors.InvalidArgument(f"the private key is malformed: {error}") from None
    opened = unseal(key, nonce, sealed)
    if opened is None:
        raise errors.Denied("the private key cannot be decrypted", hint="is the passphrase right?")
    return opened


def _scrypt(passphrase: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _armour(kind: bytes, body: bytes) -> bytes:
    text = base64.b64encode(body)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN %b-----" % kind, *lines, b"-----END %b-----" % kind, b""])


def _bare(pem: bytes) -> bytes:
    lines = pem.strip().splitlines()
    return base64.b64decode(b"".join([line.strip() for line in lines if not line.startswith(b"-----")]))


# --- secretbox ------------------------------------------------------------------------------------------------------


def seal(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """XSalsa20-Poly1305: the tag, then the encrypted bytes."""
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    stream = _xsalsa20(key, nonce, 32 + len(data))
    hidden = bytes(a ^ b for a, b in zip(data, stream[32:], strict=True))
    return Poly1305.generate_tag(stream[:32], hidden) + hidden


def unseal(key: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
    """The bytes, or None when key or content are wrong."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    if len(sealed) < 16:
        return None
    stream = _xsalsa20(key, nonce, 16 + len(sealed))
    try:
        Poly1305.verify_tag(stream[:32], sealed[16:], sealed[:16])
    except InvalidSignature:
        return None
    return bytes(a ^ b for a, b in zip(sealed[16:], stream[32:], strict=True))


def _xsalsa20(key: bytes, nonce: bytes, length: int) -> bytes:
    inner = _rounds(_state(key, nonce[:16]))
    subkey = b"".join([inner[i].to_bytes(4, "little") for i in (0, 5, 10, 15, 6, 7, 8, 9)])
    out = bytearray()
    for counter in range((length + 63) // 64):
        state = _state(subkey, nonce[16:] + counter.to_bytes(8, "little"))
        mixed = _rounds(state)
        out += b"".join([((a + b) & _MASK).to_bytes(4, "little") for a, b in zip(mixed, state, strict=True)])
    return bytes(out[:length])


def _state(key: bytes, middle: bytes) -> list[int]:
    k = [int.from_bytes(key[at : at + 4], "little") for at in range(0, 32, 4)]
    n = [int.from_bytes(middle[at : at + 4], "little") for at in range(0, 16, 4)]
    return [_SIGMA[0], *k[:4], _SIGMA[1], *n, _SIGMA[2], *k[4:], _SIGMA[3]]


_COLUMNS = ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11))
_ROWS = ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14))


def _rounds(state: list[int]) -> list[int]:
    """Twenty rounds of Salsa20 (the core without its last addition)."""
    x: Any = list(state)
    for _ in range(10):
        for a, b, c, d in (*_COLUMNS, *_ROWS):
            x[b] ^= _turn(x[a] + x[d], 7)
            x[c] ^= _turn(x[b] + x[a], 9)
            x[d] ^= _turn(x[c] + x[b], 13)
            x[a] ^= _turn(x[d] + x[c], 18)
    return list(x)


def _turn(value: int, by: int) -> int:
    value &= _MASK
    return ((value << by) | (value >> (32 - by))) & _MASK
