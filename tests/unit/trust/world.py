"""Signers for the tests of trust: an authority with certificates, a transparency log, keys of every kind."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from atoll.trust import keys, payload
from atoll.trust.evidence import SIMPLE, Evidence, Log

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
AT = int(NOW.timestamp())
ISSUER, MAIL = "https://accounts.example", "dev@example.com"
DIGEST = "sha256:" + "a" * 64
NAME = "docker.io/library/app:1"
_TEN = datetime.timedelta(minutes=10)


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return keys.public_pem(key.public_key())


class Authority:
    """A root, one authority below it, and leaves good for ten minutes."""

    def __init__(self, *, ca: bool = True) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._certificate("root", self.key, "root", self.key, ca=True, days=3650)
        self.middle_key = ec.generate_private_key(ec.SECP256R1())
        self.middle = self._certificate("middle", self.middle_key, "root", self.key, ca=ca, days=365)

    @property
    def pem(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.PEM)

    @property
    def chain(self) -> bytes:
        return self.middle.public_bytes(serialization.Encoding.PEM)

    def leaf(
        self, key: ec.EllipticCurvePrivateKey, *, usage: ObjectIdentifier | None = None, mail: str = MAIL
    ) -> bytes:
        builder = self._builder("leaf", key, "middle").not_valid_before(NOW - _TEN).not_valid_after(NOW + _TEN)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(mail)]), critical=True)
        used = x509.ExtendedKeyUsage([usage or ExtendedKeyUsageOID.CODE_SIGNING])
        builder = builder.add_extension(used, critical=False)
        text = ISSUER.encode()
        der = b"\x0c" + bytes([len(text)]) + text
        issuer = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), der)
        made = builder.add_extension(issuer, critical=False).sign(self.middle_key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    def _certificate(
        self, name: str, key: object, by: str, signer: object, *, ca: bool, days: int
    ) -> x509.Certificate:
        builder = self._builder(name, key, by).not_valid_before(NOW - datetime.timedelta(days=1))
        builder = builder.not_valid_after(NOW + datetime.timedelta(days=days))
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        return builder.sign(signer, hashes.SHA256())  # type: ignore[arg-type]

    @staticmethod
    def _builder(name: str, key: object, by: str) -> x509.CertificateBuilder:
        def called(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        builder = x509.CertificateBuilder().subject_name(called(name)).issuer_name(called(by))
        return builder.public_key(key.public_key()).serial_number(x509.random_serial_number())  # type: ignore[attr-defined]


class Rekor:
    """A transparency log: promises, and a tree with proofs of inclusion."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        der = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.id = hashlib.sha256(der).hexdigest()

    @property
    def pem(self) -> bytes:
        return pem(self.key)

    def enter(self, signed: bytes, signature: bytes, verifier: bytes, *, at: int = AT) -> Log:
        body = json.dumps(
            {
                "apiVersion": "0.0.1",
                "kind": "hashedrekord",
                "spec": {
                    "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(signed).hexdigest()}},
                    "signature": {
                        "content": base64.b64encode(signature).decode(),
                        "publicKey": {"content": base64.b64encode(verifier).decode()},
                    },
                },
            }
        ).encode()
        entry = {
            "body": base64.b64encode(body).decode(),
            "integratedTime": at,
            "logID": self.id,
            "logIndex": 3,
        }
        canonical = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        promise = self.key.sign(canonical, ec.ECDSA(hashes.SHA256()))
        return Log(body=body, integrated_time=at, log_index=3, log_id=self.id, promise=promise)

    def prove(self, log: Log, index: int, size: int) -> Log:
        """The entry at `index` of a tree with `size` leaves, its proof, and the signed checkpoint."""
        leaves = [_leaf(log.body if i == index else b"other %d" % i) for i in range(size)]
        root = _root(leaves)
        text = f"rekor.example - 1\n{size}\n{base64.b64encode(root).decode()}\n"
        signed = b"hint" + self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        checkpoint = f"{text}\n— rekor.example {base64.b64encode(signed).decode()}\n"
        return log.replace(
            proof_index=index,
            proof_size=size,
            proof_root=root,
            proof_hashes=tuple(_path(index, leaves)),
            checkpoint=checkpoint,
        )


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _split(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


def _root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    at = _split(len(leaves))
    return hashlib.sha256(b"\x01" + _root(leaves[:at]) + _root(leaves[at:])).digest()


def _path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1, as it is written there."""
    if len(leaves) == 1:
        return []
    at = _split(len(leaves))
    if index < at:
        return [*_path(index, leaves[:at]), _root(leaves[at:])]
    return [*_path(index - at, leaves[at:]), _root(leaves[:at])]


def signed_by(key: object, digest: str = DIGEST, name: str = NAME) -> Evidence:
    """A simple-signing signature by a private key."""
    content = payload.write(digest, name)
    return Evidence(kind=SIMPLE, payload=content, signature=keys.sign(key, content))


def keyless(authority: Authority, rekor: Rekor, *, at: int = AT, **leaf: object) -> Evidence:
    """A signature by a key that only a certificate knows, in the log."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.leaf(key, **leaf)  # type: ignore[arg-type]
    one = signed_by(key)
    log = rekor.enter(one.signed, one.signature, certificate, at=at)
    return one.replace(certificate=certificate, chain=authority.chain, log=log)
