"""What a signature says: which content it is for, and under which name.

Holds: `Claim`, reading simple-signing documents (containers-signature(5)) and in-toto statements, writing the former.
Does not hold: whether the signature is good (`judge.py`), what names count (`identity.py`).
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.spec import digest as digests
from atoll.trust.evidence import ATOMIC, MAX_PAYLOAD, SIMPLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.trust.evidence import Evidence

COSIGN = "cosign container image signature"
PODMAN = "atomic container signature"
IN_TOTO = "application/vnd.in-toto+json"
COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"
_STATEMENTS = ("https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1")


class Claim(Value):
    """The digests that are vouched for, and the name they are vouched for under (None: it names none). `predicate`
    is the kind of an attestation, None for a plain signature."""

    digests: tuple[str, ...]
    reference: str | None
    predicate: str | None = None


def read(evidence: Evidence) -> Claim:
    """The claim of a signature that was verified. Raises Corrupt for anything ambiguous."""
    if len(evidence.payload) > MAX_PAYLOAD:
        raise errors.Corrupt("a signature's payload is too large")
    try:
        document = jsontext.loads(evidence.payload)
        if evidence.kind == SIMPLE:
            return _simple(document, COSIGN)
        if evidence.kind == ATOMIC:
            return _simple(document, PODMAN)
        if evidence.payload_type != IN_TOTO:
            raise ValueError(f"a payload of type {evidence.payload_type!r}")
        return _statement(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.Corrupt(f"a signature's payload is malformed: {error}") from None


def _simple(document: dict[str, Any], kind: str) -> Claim:
    """As strict as containers/image: nothing beside what is known may be in `critical`."""
    critical = document["critical"]
    if set(document) - {"critical", "optional"} or set(critical) != {"type", "image", "identity"}:
        raise ValueError("unknown members")
    if critical["type"] != kind:
        raise ValueError(f"it is a {critical['type']!r}")
    if set(critical["image"]) != {"docker-manifest-digest"} or set(critical["identity"]) != {"docker-reference"}:
        raise ValueError("unknown members of image or identity")
    name = critical["identity"]["docker-reference"]
    digest = critical["image"]["docker-manifest-digest"]
    if not digests.valid(digest) or not isinstance(name, str):
        raise ValueError("no digest or no name")
    return Claim(digests=(digest,), reference=name or None)


def _statement(document: dict[str, Any]) -> Claim:
    """An in-toto statement (in-toto/attestation, spec/v1/statement.md)."""
    if document["_type"] not in _STATEMENTS:
        raise ValueError(f"it is a {document['_type']!r}")
    subjects = document["subject"]
    found = ["sha256:" + one["digest"]["sha256"] for one in subjects]
    if not found or not all(digests.valid(one) for one in found):
        raise ValueError("a subject without a sha256 digest")
    names = {one.get("name") for one in subjects}
    name = names.pop() if len(names) == 1 else None
    predicate = str(document.get("predicateType", ""))
    return Claim(
        digests=tuple(found),
        reference=name if isinstance(name, str) and name else None,
        predicate=None if predicate == COSIGN_SIGN else predicate,
    )


def write(digest: str, reference: str, optional: dict[str, str] | None = None) -> bytes:
    """The simple-signing document for a digest under a name, as cosign writes it."""
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": digests.check(digest)},
        "type": COSIGN,
    }
    return jsontext.dumps({"critical": critical, "optional": optional}).encode()
