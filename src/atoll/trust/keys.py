"""Keys: ECDSA, Ed25519 and RSA, as PEM; verifying and signing with them, making new ones.

Holds: `verify`, `sign`, `load_public`, `load_private`, `generate`. Does not hold: the cryptography (`cryptography`),
cosign's way to encrypt a key (`cosign_key.py`), certificates (`authority.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.trust import cosign_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MIN_RSA = 2048
KINDS = ("ecdsa", "ed25519", "rsa")


def load_public(pem: bytes) -> Any:
    """A public key, also from a certificate or a private key without passphrase. Raises InvalidArgument."""
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, _unsupported()) as error:
        raise errors.InvalidArgument(f"not a public key in PEM: {error}") from None
    return _checked(key)


def _unsupported() -> type[Exception]:
    from cryptography.exceptions import UnsupportedAlgorithm

    return UnsupportedAlgorithm


def _checked(key: Any) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _MIN_RSA:
            raise errors.InvalidArgument(f"an RSA key of {key.key_size} bits is too short: {_MIN_RSA} at least")
    elif not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise errors.InvalidArgument("a key that is neither ECDSA, Ed25519 nor RSA")
    return key


def verify(key: Any, signature: bytes, data: bytes) -> bool:
    """Whether `signature` is the key's over `data`: SHA-256 with ECDSA and RSA (PKCS#1 v1.5), as sigstore has it; a
    larger curve may use its own hash."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
            return True
        if not isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
            return True
    except InvalidSignature:
        return False
    for digest in (hashes.SHA256(), {384: hashes.SHA384(), 521: hashes.SHA512()}.get(key.curve.key_size)):
        try:
            if digest is not None:
                key.verify(signature, data, ec.ECDSA(digest))
                return True
        except InvalidSignature:
            continue
    return False


def sign(key: Any, data: bytes) -> bytes:
    """A private key's signature over `data`, by the rules of `verify`."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

    signature: bytes
    if isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(data)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(data, ec.ECDSA(hashes.SHA256()))
    else:
        signature = key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return signature


def load_private(pem: bytes, passphrase: bytes | None) -> Any:
    """A private key: PKCS#8 or the older PEM forms, or cosign's encrypted one. Raises InvalidArgument, Denied for a
    wrong passphrase."""
    from cryptography.hazmat.primitives import serialization

    if cosign_key.is_one(pem):
        return serialization.load_der_private_key(cosign_key.decrypt(pem, passphrase or b""), None)
    try:
        key = serialization.load_pem_private_key(pem, passphrase or None)
    except TypeError:
        if passphrase:  # it is not encrypted: the passphrase is for another key, or unneeded
            return load_private(pem, None)
        raise errors.Denied("the private key is encrypted: a passphrase is needed") from None
    except (ValueError, _unsupported()) as error:
        raise errors.Denied(f"the private key cannot be read: {error}", hint="is the passphrase right?") from None
    _checked(key.public_key() if hasattr(key, "public_key") else None)
    return key


def generate(kind: str, passphrase: bytes) -> tuple[bytes, bytes]:
    """A new key pair: (private, encrypted as cosign does it; public), both PEM. Raises InvalidArgument."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key: Any
    if kind == "ecdsa":
        key = ec.generate_private_key(ec.SECP256R1())
    elif kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    elif kind == "rsa":
        key = rsa.generate_private_key(65537, 3072)
    else:
        raise errors.InvalidArgument(f"unknown kind of key {kind!r}", hint="one of " + ", ".join(KINDS))
    der = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return cosign_key.encrypt(der, passphrase), public_pem(key.public_key())


def public_pem(key: Any) -> bytes:
    """A public key as PEM."""
    from cryptography.hazmat.primitives import serialization

    pem: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem
