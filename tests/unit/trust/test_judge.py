"""Verdicts: keys of every kind, certificates, the transparency log, and everything that must not count."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from atoll.base import errors
from atoll.spec import reference as references
from atoll.trust import evidence as proofs
from atoll.trust import formats, judge, keys, payload, policy
from atoll.trust.evidence import DSSE, Evidence
from atoll.trust.identity import Identity
from atoll.trust.policy import SIGSTORE, Fulcio, Requirement
from unit.trust.world import AT, DIGEST, ISSUER, MAIL, NAME, Authority, Rekor, keyless, pem, signed_by

SUBJECT = judge.Subject(reference=references.parse("app:1"), digests=(DIGEST,))
OTHER = "sha256:" + "b" * 64
KEYS = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


def decide(requirement: Requirement, *evidence: Evidence, subject: judge.Subject = SUBJECT) -> None:
    judge.judge((requirement,), subject, lambda: list(evidence), "/p.json")


def by_key(*public: bytes, **more: object) -> Requirement:
    return Requirement(kind=SIGSTORE, keys=public, **more)


def by_owner(authority: Authority, rekor: Rekor, *, issuer: str = ISSUER, mail: str = MAIL) -> Requirement:
    return Requirement(kind=SIGSTORE, fulcio=Fulcio(ca=authority.pem, issuer=issuer, email=mail), rekor=(rekor.pem,))


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_a_key_of_every_kind(kind: str):
    key, other = KEYS[kind](), KEYS[kind]()
    good = by_key(keys.public_pem(other.public_key()), keys.public_pem(key.public_key()))
    decide(good, signed_by(other, name="docker.io/library/else:1"), signed_by(key))
    with pytest.raises(errors.Denied, match="none of the keys"):
        decide(by_key(keys.public_pem(other.public_key())), signed_by(key))


def test_a_short_rsa_key_is_no_key():
    key = rsa.generate_private_key(65537, 1024)
    with pytest.raises(errors.InvalidArgument, match="too short"):
        keys.load_public(keys.public_pem(key.public_key()))


def test_without_a_signature_and_with_one_for_something_else():
    key = ec.generate_private_key(ec.SECP256R1())
    rule = by_key(pem(key))
    with pytest.raises(errors.Denied, match="no signature exists"):
        decide(rule)
    with pytest.raises(errors.Denied, match="not for this image"):
        decide(rule, signed_by(key, digest=OTHER))
    with pytest.raises(errors.Denied, match="is not accepted for"):
        decide(rule, signed_by(key, name="docker.io/library/else:1"))
    # The index or the manifest that was chosen from it: either binds the bytes.
    decide(rule, signed_by(key, digest=OTHER), subject=SUBJECT.replace(digests=(DIGEST, OTHER)))


def test_every_flipped_bit_of_payload_and_signature():
    key = ec.generate_private_key(ec.SECP256R1())
    rule, good = by_key(pem(key)), signed_by(key)
    for field in ("payload", "signature"):
        content = getattr(good, field)
        for at in range(0, len(content), 7):
            bad = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
            with pytest.raises(errors.Denied):
                decide(rule, good.replace(**{field: bad}))


@pytest.mark.parametrize(
    "document",
    [
        {"critical": {}},
        {"critical": {"type": payload.COSIGN, "image": {"docker-manifest-digest": DIGEST}, "identity": {}}},
        {"critical": {"type": "atomic container signature", "image": {"docker-manifest-digest": DIGEST},
                      "identity": {"docker-reference": NAME}}},
        {"critical": {"type": payload.COSIGN, "image": {"docker-manifest-digest": DIGEST, "more": 1},
                      "identity": {"docker-reference": NAME}}},
        {"critical": {"type": payload.COSIGN, "image": {"docker-manifest-digest": "sha256:1"},
                      "identity": {"docker-reference": NAME}}},
        {"critical": {"type": payload.COSIGN, "image": {"docker-manifest-digest": DIGEST},
                      "identity": {"docker-reference": NAME}}, "extra": 1},
        [],
    ],
)  # fmt: skip
def test_a_genuine_signature_over_a_strange_document(document: object):
    key = ec.generate_private_key(ec.SECP256R1())
    content = json.dumps(document).encode()
    with pytest.raises(errors.Denied, match="malformed"):
        decide(by_key(pem(key)), Evidence(kind="simplesigning", payload=content, signature=keys.sign(key, content)))


def test_all_requirements_must_be_met():
    one, two = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    both = (by_key(pem(one)), by_key(pem(two)))
    judge.judge(both, SUBJECT, lambda: [signed_by(one), signed_by(two)], "p")
    with pytest.raises(errors.Denied):
        judge.judge(both, SUBJECT, lambda: [signed_by(one)], "p")


def test_accept_reject_and_gpg():
    judge.judge((Requirement(kind=policy.ACCEPT),), SUBJECT, lambda: pytest.fail("not needed"), "p")
    with pytest.raises(errors.Denied, match="rejected by policy"):
        decide(Requirement(kind=policy.REJECT))
    with pytest.raises(errors.Denied, match="no signature exists"):
        decide(Requirement(kind=policy.GPG))


def test_keyless_signatures():
    authority, rekor = Authority(), Rekor()
    good = keyless(authority, rekor)
    decide(by_owner(authority, rekor), good)
    found, _ = judge.vouched(by_owner(authority, rekor), SUBJECT, [good])
    assert found[0].signer is not None
    assert (found[0].signer.emails, found[0].signer.issuer) == ((MAIL,), ISSUER)


def test_what_makes_a_keyless_signature_worthless():
    authority, rekor = Authority(), Rekor()
    rule, good = by_owner(authority, rekor), keyless(authority, rekor)
    assert good.log is not None
    later = good.log.replace(integrated_time=AT + 1)
    cases = {
        "no entry of a transparency log": (rule, good.replace(log=None)),
        "without a certificate": (rule, good.replace(certificate=b"")),
        "not trusted here": (by_owner(authority, Rekor()), good),
        "promise for the signature is not genuine": (rule, good.replace(log=later)),
        "trusted authority": (by_owner(Authority(), rekor), good),
        "vouched for by": (by_owner(authority, rekor, issuer="https://other"), good),
        "not by boss@": (by_owner(authority, rekor, mail="boss@example.com"), good),
        "not valid when": (rule, keyless(authority, rekor, at=AT + 3600)),
        "not for signing code": (rule, keyless(authority, rekor, usage=ExtendedKeyUsageOID.SERVER_AUTH)),
        "another signature": (rule, good.replace(log=keyless(authority, rekor).log)),
    }
    for words, (requirement, evidence) in cases.items():
        with pytest.raises(errors.Denied, match=words):
            decide(requirement, evidence)
    with pytest.raises(errors.Denied, match="trusted authority"):
        decide(rule, good.replace(chain=b""))


def test_a_certificate_that_is_no_authority_cannot_make_another():
    rekor, authority = Rekor(), Authority(ca=False)
    with pytest.raises(errors.Denied, match="not an authority"):
        decide(by_owner(authority, rekor), keyless(authority, rekor))


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 2), (1, 2), (2, 3), (4, 5), (3, 7), (6, 7), (5, 8)])
def test_proofs_of_inclusion(index: int, size: int):
    authority, rekor = Authority(), Rekor()
    good = keyless(authority, rekor)
    assert good.log is not None
    proved = rekor.prove(good.log, index, size)
    rule = by_owner(authority, rekor)
    decide(rule, good.replace(log=proved))
    for wrong in (
        proved.replace(proof_index=(index + 1) % (size + 1)),
        proved.replace(proof_hashes=(*proved.proof_hashes, b"x" * 32)),
        proved.replace(proof_root=b"x" * 32),
        proved.replace(checkpoint=proved.checkpoint.replace("rekor", "fake", 1)),
    ):
        with pytest.raises(errors.Denied, match=r"log|proof"):
            decide(rule, good.replace(log=wrong))


def test_a_key_whose_signatures_must_be_in_the_log():
    key, rekor = ec.generate_private_key(ec.SECP256R1()), Rekor()
    one = signed_by(key)
    rule = by_key(pem(key), rekor=(rekor.pem,))
    with pytest.raises(errors.Denied, match="transparency log"):
        decide(rule, one)
    decide(rule, one.replace(log=rekor.enter(one.signed, one.signature, pem(key))))


def statement(key: object, *, name: str | None, predicate: str = payload.COSIGN_SIGN) -> dict[str, object]:
    subject: dict[str, object] = {"digest": {"sha256": DIGEST[7:]}}
    if name is not None:
        subject["name"] = name
    body = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": predicate}
    content = json.dumps(body).encode()
    signed = Evidence(kind=DSSE, payload=content, payload_type=payload.IN_TOTO, signature=b"").signed
    return {
        "payload": base64.b64encode(content).decode(),
        "payloadType": payload.IN_TOTO,
        "signatures": [{"sig": base64.b64encode(keys.sign(key, signed)).decode()}],
    }


def test_bundles():
    key = ec.generate_private_key(ec.SECP256R1())
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"

    def bundle(**how: object) -> list[Evidence]:
        document = {
            "mediaType": kind,
            "verificationMaterial": {"publicKey": {}},
            "dsseEnvelope": statement(key, **how),
        }
        return formats.read(kind, json.dumps(document).encode(), {})

    rule = by_key(pem(key))
    decide(rule, *bundle(name=NAME))
    with pytest.raises(errors.Denied, match="names no repository"):
        decide(rule, *bundle(name=None))
    with pytest.raises(errors.Denied, match="an attestation is not a signature"):
        decide(rule, *bundle(name=NAME, predicate="https://spdx.dev/Document"))
    for bad in (b"{", b"{}", b'{"verificationMaterial": {}, "messageSignature": {}}'):
        with pytest.raises(errors.Corrupt):
            formats.read(kind, bad, {})


def test_evidence_survives_being_kept():
    authority, rekor = Authority(), Rekor()
    good = keyless(authority, rekor)
    assert good.log is not None
    good = good.replace(log=rekor.prove(good.log, 2, 5))
    assert proofs.from_json(json.loads(json.dumps(good.to_json()))) == good
    for bad in ({}, {**good.to_json(), "payload": "?"}, {**good.to_json(), "log": {}}, None):
        with pytest.raises(errors.Corrupt):
            proofs.from_json(bad)


@pytest.mark.parametrize(
    ("rule", "intended", "signed", "fits"),
    [
        ("matchExact", "app:1", "docker.io/library/app:1", True),
        ("matchExact", "app:1", "app", False),
        ("matchExact", f"app@{DIGEST}", "app:1", False),
        ("matchExact", f"app@{DIGEST}", f"app@{DIGEST}", True),
        ("matchRepoDigestOrExact", "app:1", "index.docker.io/library/app:1", True),
        ("matchRepoDigestOrExact", "app:1", "app:2", False),
        ("matchRepoDigestOrExact", f"app@{DIGEST}", "app:2", True),
        ("matchRepository", "q.io/a:1", "q.io/a", True),
        ("matchRepository", "q.io/a:1", "q.io/b", False),
        ("matchRepository", "q.io/a:1", "not a name", False),
        (Identity(kind="exactReference", first="q.io/x:9"), "app:1", "q.io/x:9", True),
        (Identity(kind="exactReference", first="q.io/x:9"), "app:1", "q.io/x", False),
        (Identity(kind="exactRepository", first="q.io/x"), "app:1", "q.io/x:3", True),
        (Identity(kind="remapIdentity", first="near/m", second="docker.io"), "near.io/m/x:1", "x:1", False),
        (Identity(kind="remapIdentity", first="near:1/m", second="q.io/n"), "near:1/m/x:1", "q.io/n/x:1", True),
        (Identity(kind="remapIdentity", first="near:1/m", second="q.io/n"), "near:1/mm/x:1", "near:1/mm/x:1", True),
    ],
)
def test_identities(rule: str | Identity, intended: str, signed: str, fits: bool):
    from atoll.trust import identity

    chosen = Identity(kind=rule) if isinstance(rule, str) else rule
    assert identity.matches(chosen, references.parse(intended), signed) is fits
