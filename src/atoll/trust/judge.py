"""The verdict: whether an image meets a policy's requirements.

Holds: `judge`, `vouched` (is there a good signature?), `Subject`. Does not hold: fetching evidence. All requirements
must be met; one good signature meets one of them, whatever the others beside it are worth. The reasons of those that
were not good enough are told when none was.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.trust import authority, gpg, identity, keys, payload, policy
from atoll.trust.evidence import GPG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.spec.reference import Reference
    from atoll.trust.evidence import Evidence
    from atoll.trust.policy import Requirement


class Subject(Value):
    """What is judged: the name that the user asked for, and the digests of the documents whose bytes are used, any
    of which a signature may be for (an index binds the manifest chosen from it)."""

    reference: Reference
    digests: tuple[str, ...]


class Vouched(Value):
    """A signature that was good: what it claims, and whose it is (a certificate's owner; None: a key's)."""

    claim: payload.Claim
    signer: authority.Signer | None = None


def judge(
    requirements: tuple[Requirement, ...], subject: Subject, evidence: Callable[[], list[Evidence]], where: str
) -> None:
    """Return if all requirements are met. `evidence` is asked for only if one needs it. Raises Denied with every
    reason; `where` names the policy."""
    shown = subject.reference.familiar
    for requirement in requirements:
        if requirement.kind == policy.ACCEPT:
            continue
        if requirement.kind == policy.REJECT:
            raise errors.Denied(f"running image {shown} is rejected by policy", hint=f"the policy is {where}")
        found, reasons = vouched(requirement, subject, evidence())
        if not found:
            why = "; ".join(dict.fromkeys(reasons)) or "a signature was required, but no signature exists"
            raise errors.Denied(f"image {shown}: {why}", hint=f"the policy is {where}")


def vouched(
    requirement: Requirement, subject: Subject, evidence: list[Evidence], *, any_name: bool = False
) -> tuple[list[Vouched], list[str]]:
    """The good signatures among some, and why the others are not. `any_name`: whatever name it is for (`verify`
    without a policy)."""
    good: list[Vouched] = []
    reasons: list[str] = []
    for one in evidence:
        try:
            if (one.kind == GPG) != (requirement.kind == policy.GPG):
                continue
            signer = None
            if one.kind == GPG:
                one = gpg.opened(one, requirement.keys)
            else:
                signer = signed_by(requirement, one)
            claim = payload.read(one)
            _check_claim(requirement, subject, claim, any_name=any_name)
            good.append(Vouched(claim=claim, signer=signer))
        except (errors.Denied, errors.Corrupt) as error:
            reasons.append(error.message)
    return good, reasons


def signed_by(requirement: Requirement, evidence: Evidence) -> authority.Signer | None:
    """Whose signature it is. Before this nothing of the payload is read. Raises Denied."""
    from atoll.trust import rekor

    if requirement.fulcio is not None:
        if not evidence.certificate:
            raise errors.Denied("a signature without a certificate")
        at = rekor.check(evidence, requirement.rekor, evidence.certificate)
        key, signer = authority.check(evidence.certificate, evidence.chain, requirement.fulcio.ca, at)
        if not keys.verify(key, evidence.signature, evidence.signed):
            raise errors.Denied("the signature is not the certificate's")
        _check_signer(requirement.fulcio, signer)
        return signer
    for pem in requirement.keys:
        if keys.verify(keys.load_public(pem), evidence.signature, evidence.signed):
            if requirement.rekor:
                rekor.check(evidence, requirement.rekor, pem)
            return None
    raise errors.Denied("cryptographic signature verification failed: it is of none of the keys")


def _check_signer(wanted: policy.Fulcio, signer: authority.Signer) -> None:
    if signer.issuer != wanted.issuer:
        raise errors.Denied(f"the signer was vouched for by {signer.issuer!r}, not by {wanted.issuer!r}")
    if wanted.email not in (*signer.emails, *signer.uris):
        names = ", ".join((*signer.emails, *signer.uris))
        raise errors.Denied(f"the signature is by {names}, not by {wanted.email}")


def _check_claim(requirement: Requirement, subject: Subject, claim: payload.Claim, *, any_name: bool) -> None:
    if claim.predicate is not None:
        raise errors.Denied("an attestation is not a signature of the image")
    if not set(claim.digests) & set(subject.digests):
        raise errors.Denied(f"the signature is for {claim.digests[0]}, not for this image")
    if any_name:
        return
    if claim.reference is None:
        raise errors.Denied("the signature names no repository, and the policy asks for one")
    if not identity.matches(requirement.identity, subject.reference, claim.reference):
        raise errors.Denied(
            f"signature for identity {claim.reference!r} is not accepted for {subject.reference.full}"
        )
