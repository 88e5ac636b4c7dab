"""How signatures are written: cosign's layers and annotations, sigstore's bundles, DSSE envelopes.

Holds: reading each into `Evidence`, writing cosign's form. Does not hold: fetching (`engine/images/signatures.py`).
Sources: cosign, specs/SIGNATURE_SPEC.md and BUNDLE_SPEC.md; sigstore protobuf-specs, sigstore_bundle.proto;
secure-systems-lab/dsse, envelope.md.
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.trust.evidence import DSSE, SIMPLE, Evidence, Log, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
COSIGN_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
_CERTIFICATE, _CHAIN, _BUNDLE = (f"dev.sigstore.cosign/{one}" for one in ("certificate", "chain", "bundle"))
MAX_LAYER = 8 << 20
_BAD = (ValueError, KeyError, TypeError, AttributeError)


def is_signature(media_type: str) -> bool:
    """Whether a layer may hold evidence."""
    return media_type in (SIMPLE_SIGNING, ENVELOPE) or media_type.startswith(BUNDLE)


def read(media_type: str, content: bytes, annotations: Mapping[str, str]) -> list[Evidence]:
    """The evidence in one layer. Raises Corrupt."""
    try:
        if media_type == SIMPLE_SIGNING:
            return [_cosign(content, annotations)]
        if media_type == ENVELOPE:
            return _envelope(jsontext.loads(content), annotations)
        if media_type.startswith(BUNDLE):
            return _bundle(jsontext.loads(content))
    except _BAD as error:
        raise errors.Corrupt(f"a signature of type {media_type} is malformed: {error!r}") from None
    raise errors.Unsupported(f"{media_type} is no signature")


def cosign_annotations(signature: bytes) -> dict[str, str]:
    """How a signature travels beside its payload."""
    return {SIGNATURE_ANNOTATION: encode(signature)}


def _cosign(content: bytes, annotations: Mapping[str, str]) -> Evidence:
    return Evidence(
        kind=SIMPLE,
        payload=content,
        signature=decode(annotations[SIGNATURE_ANNOTATION]),
        certificate=annotations.get(_CERTIFICATE, "").encode(),
        chain=annotations.get(_CHAIN, "").encode(),
        log=_log(annotations.get(_BUNDLE)),
    )


def _log(text: str | None) -> Log | None:
    """Cosign's "bundle": the promise and the entry."""
    if not text:
        return None
    document = jsontext.loads(text)
    entry = document["Payload"]
    return Log(
        body=decode(entry["body"]),
        integrated_time=int(entry["integratedTime"]),
        log_index=int(entry["logIndex"]),
        log_id=str(entry["logID"]),
        promise=decode(document["SignedEntryTimestamp"]),
    )


def _envelope(document: dict[str, Any], annotations: Mapping[str, str]) -> list[Evidence]:
    payload, kind = decode(document["payload"]), str(document["payloadType"])
    return [
        Evidence(
            kind=DSSE,
            payload=payload,
            payload_type=kind,
            signature=decode(one["sig"]),
            certificate=annotations.get(_CERTIFICATE, "").encode(),
            chain=annotations.get(_CHAIN, "").encode(),
            log=_log(annotations.get(_BUNDLE)),
        )
        for one in document["signatures"]
    ]


def _bundle(document: dict[str, Any]) -> list[Evidence]:
    material = document["verificationMaterial"]
    certificates = [material["certificate"]] if "certificate" in material else []
    certificates += material.get("x509CertificateChain", {}).get("certificates", [])
    pems = [_pem(decode(one["rawBytes"])) for one in certificates]
    entries = [_entry(one) for one in material.get("tlogEntries", [])]
    if "dsseEnvelope" not in document:
        raise ValueError("a bundle about a file, not about an image")
    found = _envelope(document["dsseEnvelope"], {})
    return [
        one.replace(
            certificate=pems[0] if pems else b"", chain=b"".join(pems[1:]), log=entries[0] if entries else None
        )
        for one in found
    ]


def _entry(document: dict[str, Any]) -> Log:
    proof = document.get("inclusionProof") or {}
    promise = (document.get("inclusionPromise") or {}).get("signedEntryTimestamp", "")
    return Log(
        body=decode(document["canonicalizedBody"]),
        integrated_time=int(document.get("integratedTime", 0)),
        log_index=int(document.get("logIndex", 0)),
        log_id=decode(document["logId"]["keyId"]).hex(),
        promise=decode(promise),
        proof_index=int(proof.get("logIndex", 0)),
        proof_size=int(proof.get("treeSize", 0)),
        proof_root=decode(proof.get("rootHash", "")),
        proof_hashes=tuple([decode(one) for one in proof.get("hashes", [])]),
        checkpoint=str((proof.get("checkpoint") or {}).get("envelope", "")),
    )


def _pem(der: bytes) -> bytes:
    text = encode(der)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""]).encode()
