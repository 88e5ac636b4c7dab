"""Transparency logs: proof, without a network, that a signature was in Rekor at some time.

Holds: `check`. Does not hold: the log itself. Two proofs are known: the log's promise (signed entry timestamp, SET)
over the entry, and an inclusion proof (RFC 6962, 2.1.1) under a checkpoint that the log signed (C2SP
tlog-checkpoint). Only a promise tells the time that is trusted. The entry must be about this very signature, key and
content, otherwise somebody else's entry would do.
"""

from __future__ import annotations

import hashlib

from atoll.base import errors, jsontext
from atoll.trust import keys
from atoll.trust.evidence import DSSE, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.trust.evidence import Evidence, Log


def check(evidence: Evidence, rekor: tuple[bytes, ...], verifier: bytes) -> int:
    """When the signature was in the log, in seconds since the epoch. `rekor` are the log's keys (PEM), `verifier` the
    certificate or public key (PEM) that the entry must name. Raises Denied."""
    log = evidence.log
    if log is None:
        raise errors.Denied("the signature has no entry of a transparency log")
    known = {_key_id(pem): keys.load_public(pem) for pem in rekor}
    key = known.get(log.log_id)
    if key is None:
        raise errors.Denied("the signature is in a transparency log whose key is not trusted here")
    if not log.promise or not keys.verify(key, log.promise, _promised(log)):
        raise errors.Denied("the transparency log's promise for the signature is not genuine")
    if log.proof_size:
        _check_inclusion(log, key)
    _check_entry(evidence, log, verifier)
    return log.integrated_time


def _key_id(pem: bytes) -> str:
    """A log's id: the hash of its public key in DER, in hexadecimal."""
    from cryptography.hazmat.primitives import serialization

    der = keys.load_public(pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def _promised(log: Log) -> bytes:
    """What the log signs: canonical JSON (RFC 8785), which for these four members is sorted and compact."""
    return jsontext.dumps(
        {
            "body": encode(log.body),
            "integratedTime": log.integrated_time,
            "logID": log.log_id,
            "logIndex": log.log_index,
        }
    ).encode()


def _check_entry(evidence: Evidence, log: Log, verifier: bytes) -> None:
    """The entry is of this signature by this verifier over this content."""
    try:
        document = jsontext.loads(log.body)
        kind, spec = document["kind"], document["spec"]
        if kind == "hashedrekord":
            named = [(spec["signature"]["content"], spec["signature"]["publicKey"]["content"])]
            hashed = spec["data"]["hash"]
            content = (
                hashed["algorithm"] == "sha256" and hashed["value"] == hashlib.sha256(evidence.signed).hexdigest()
            )
        elif kind == "dsse" and evidence.kind == DSSE:
            named = [(one["signature"], one["verifier"]) for one in spec["signatures"]]
            content = spec["payloadHash"]["value"] == hashlib.sha256(evidence.payload).hexdigest()
        elif kind == "intoto" and evidence.kind == DSSE:
            inner = spec["content"]
            named = [_intoto(one) for one in inner["envelope"]["signatures"]]
            content = inner["payloadHash"]["value"] == hashlib.sha256(evidence.payload).hexdigest()
        else:
            raise ValueError(f"an entry of kind {kind!r}")
        genuine = any(
            decode(signature) == evidence.signature and _same(decode(public), verifier) for signature, public in named
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.Denied(f"the transparency log's entry is malformed: {error}") from None
    if not content or not genuine:
        raise errors.Denied("the transparency log's entry is about another signature")


def _intoto(one: dict[str, Any]) -> tuple[str, str]:
    """Kind intoto 0.0.2 wraps both values twice."""
    return decode(one["sig"]).decode("ascii"), str(one["publicKey"])


def _same(one: bytes, other: bytes) -> bool:
    """Whether two PEM texts hold the same thing."""

    def bare(pem: bytes) -> bytes:
        return b"".join([line.strip() for line in pem.splitlines() if not line.startswith(b"-----")])

    return bool(bare(one)) and bare(one) == bare(other)


def _check_inclusion(log: Log, key: Any) -> None:
    """The entry's path up to a root that the log signed."""
    if not _signed_root(log, key):
        raise errors.Denied("the transparency log's checkpoint is not genuine")
    index, size = log.proof_index, log.proof_size
    found = hashlib.sha256(b"\x00" + log.body).digest()
    if not 0 <= index < size or len(log.proof_hashes) > 64:
        raise errors.Denied("the proof of inclusion is malformed")
    last = size - 1
    for one in log.proof_hashes:
        if last == 0:
            raise errors.Denied("the proof of inclusion is malformed")
        if index & 1 or index == last:
            found = hashlib.sha256(b"\x01" + one + found).digest()
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + one).digest()
        index, last = index >> 1, last >> 1
    if last != 0 or found != log.proof_root:
        raise errors.Denied("the proof of inclusion does not lead to the log's root")


def _signed_root(log: Log, key: Any) -> bool:
    """A checkpoint: origin, size, root hash, a blank line, signatures `— name base64(hint + signature)`."""
    text, blank, tail = log.checkpoint.partition("\n\n")
    lines = text.split("\n")
    if not blank or len(lines) < 3 or lines[1] != str(log.proof_size):
        return False
    try:
        if decode(lines[2]) != log.proof_root:
            return False
        signatures = [decode(line.rpartition(" ")[2])[4:] for line in tail.splitlines() if line.startswith("\u2014 ")]
    except ValueError:
        return False
    return any(keys.verify(key, one, (text + "\n").encode()) for one in signatures)
