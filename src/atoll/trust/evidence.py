"""What came with an image as proof: one value for each signature, whatever format brought it.

Holds: `Evidence`, `Log`. Does not hold: whether it proves anything (`judge.py`). Kept beside a pulled image as JSON,
so that another policy can judge it later without a network.
"""

from __future__ import annotations

import binascii

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIMPLE, DSSE = "simplesigning", "dsse"
GPG, ATOMIC = "gpg", "atomic"  # a signed message as it came, and the document that was in it
MAX_PAYLOAD = 8 << 20


class Log(Value):
    """An entry of a transparency log: `body` is the canonicalised entry. A promise (SET) or a proof of inclusion, or
    both: whoever judges decides which is enough."""

    body: bytes
    integrated_time: int
    log_index: int
    log_id: str
    promise: bytes = b""
    proof_index: int = 0
    proof_size: int = 0
    proof_root: bytes = b""
    proof_hashes: tuple[bytes, ...] = ()
    checkpoint: str = ""


class Evidence(Value):
    """One signature. `payload` is what was signed (of GPG the message, which holds its signature too): the
    simple-signing document, or the DSSE payload whose
    `payload_type` is signed with it. `certificate` and `chain` (PEM) are there for keyless signatures."""

    kind: str
    payload: bytes
    signature: bytes
    payload_type: str = ""
    certificate: bytes = b""
    chain: bytes = b""
    log: Log | None = None

    @property
    def signed(self) -> bytes:
        """The bytes under the signature."""
        if self.kind == SIMPLE:
            return self.payload
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)

    def to_json(self) -> dict[str, Any]:
        """For keeping."""
        return {
            "kind": self.kind,
            "type": self.payload_type,
            "log": _log_out(self.log),
            **{key: encode(getattr(self, key)) for key in ("payload", "signature", "certificate", "chain")},
        }


def from_json(wire: Any) -> Evidence:
    """What `to_json` wrote. Raises Corrupt."""
    try:
        raw = {key: decode(wire[key]) for key in ("payload", "signature", "certificate", "chain")}
        return Evidence(kind=str(wire["kind"]), payload_type=str(wire["type"]), log=_log_in(wire["log"]), **raw)
    except (KeyError, TypeError, ValueError) as error:
        raise errors.Corrupt(f"a kept signature is malformed: {error}") from None


def _log_out(log: Log | None) -> dict[str, Any] | None:
    if log is None:
        return None
    return {
        "body": encode(log.body),
        "time": log.integrated_time,
        "index": log.log_index,
        "id": log.log_id,
        "promise": encode(log.promise),
        "proof": [log.proof_index, log.proof_size, encode(log.proof_root)],
        "hashes": [encode(one) for one in log.proof_hashes],
        "checkpoint": log.checkpoint,
    }


def _log_in(wire: Any) -> Log | None:
    if wire is None:
        return None
    index, size, root = wire["proof"]
    return Log(
        body=decode(wire["body"]),
        integrated_time=int(wire["time"]),
        log_index=int(wire["index"]),
        log_id=str(wire["id"]),
        promise=decode(wire["promise"]),
        proof_index=int(index),
        proof_size=int(size),
        proof_root=decode(root),
        proof_hashes=tuple([decode(one) for one in wire["hashes"]]),
        checkpoint=str(wire["checkpoint"]),
    )


def encode(data: bytes) -> str:
    """Base64. Without the module of that name, which imports `re`: 7 ms of a pull that finds nothing new."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode(text: object) -> bytes:
    """Base64, strictly. Raises ValueError (binascii.Error is one)."""
    if not isinstance(text, str):
        raise ValueError("base64 is a text")
    return binascii.a2b_base64(text, strict_mode=True) if text else b""
