"""sign and verify: one's own signature put beside an image at its registry, and others' looked at.

Holds: `sign`, `verify`, `attestations`. Does not hold: the policy (`admission.py`), cryptography (`trust/`). What is
signed is the digest that the registry has under the name, not what happens to be here.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.spec import digest as digests
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.images.remote import Repository
    from atoll.images.source import Document
    from atoll.images.values import RegistryOptions
    from atoll.spec.reference import Reference
    from atoll.trust.judge import Vouched
    from atoll.trust.policy import Requirement


class Signed(Value):
    """What was signed, under which name, and the digest of the signature's manifest."""

    digest: str
    reference: str
    manifest: str


def sign(
    engine: Engine,
    name: str,
    key: bytes,
    passphrase: bytes | None,
    *,
    tag: bool = True,
    annotations: dict[str, str] | None = None,
    identity: str | None = None,
    options: RegistryOptions | None = None,
) -> Signed:
    """Sign what `name` is at its registry with a private key (PEM). `tag` puts the signature under cosign's tag,
    otherwise it is a referrer. `identity` is the name that the signature is for, `name` itself if not given.

    Raises NotFound, Denied, InvalidArgument for a key that cannot be used.
    """
    from atoll.engine.images.registries import options as options_of
    from atoll.engine.images.signatures import attach
    from atoll.images.push import RepositoryDestination
    from atoll.trust import keys, payload

    private = keys.load_private(key, passphrase)
    reference = references.parse(name)
    chosen = options or options_of(engine)
    source, subject = _resolve(reference, chosen)
    target = RepositoryDestination(reference, chosen)
    try:
        content = payload.write(subject.digest, identity or reference.full, annotations)
        signature = keys.sign(private, content)
        manifest = attach(target, source, subject, content, signature, tag=tag)
        target.finish()
    finally:
        target.close()
        source.close()
    return Signed(digest=subject.digest, reference=identity or reference.full, manifest=manifest)


def verify(
    engine: Engine, name: str, requirement: Requirement | None, *, options: RegistryOptions | None = None
) -> list[Vouched]:
    """The good signatures of what `name` is at its registry: by `requirement`, or by the policy in force if that is
    None (then the list may be empty: the policy may ask for none). Raises Denied when there is none that counts."""
    from atoll.engine.images.admission import Admission
    from atoll.engine.images.registries import options as options_of
    from atoll.engine.images.signatures import collect
    from atoll.images import places
    from atoll.trust import judge

    reference = references.parse(name)
    source, subject = _resolve(reference, options or options_of(engine))
    try:
        if requirement is None:
            Admission(engine, places.parse(name), reference, source).check(subject, subject)
            return []
        about = judge.Subject(reference=reference, digests=(subject.digest,))
        found, reasons = judge.vouched(requirement, about, collect(source, (subject.digest,)), any_name=True)
    finally:
        source.close()
    if not found:
        why = "; ".join(dict.fromkeys(reasons)) or "no signatures found"
        raise errors.Denied(f"image {reference.familiar}: {why}")
    return found


def attestations(
    engine: Engine, name: str, requirement: Requirement | None, *, options: RegistryOptions | None = None
) -> list[dict[str, Any]]:
    """The in-toto statements attached to an image, those about this very digest; with `requirement` only those that
    it finds genuine. Raises NotFound when there are none, Denied when none is genuine."""
    from atoll.base import jsontext
    from atoll.engine.images.registries import options as options_of
    from atoll.engine.images.signatures import ATTESTATIONS, collect
    from atoll.trust import judge, payload
    from atoll.trust.evidence import DSSE

    reference = references.parse(name)
    source, subject = _resolve(reference, options or options_of(engine))
    try:
        evidence = [one for one in collect(source, (subject.digest,), (ATTESTATIONS,)) if one.kind == DSSE]
    finally:
        source.close()
    statements, reasons = [], []
    for one in evidence:
        try:
            if requirement is not None:
                judge.signed_by(requirement, one)
            claim = payload.read(one)
            if subject.digest in claim.digests and claim.predicate is not None:
                statements.append(jsontext.loads(one.payload))
        except (errors.Denied, errors.Corrupt) as error:
            reasons.append(error.message)
    if not statements:
        why = "; ".join(dict.fromkeys(reasons))
        kind = errors.Denied if why else errors.NotFound
        raise kind(f"image {reference.familiar}: {why or 'no attestations found'}")
    return statements


def _resolve(reference: Reference, options: RegistryOptions) -> tuple[Repository, Document]:
    """The registry's own word for what a name is: mirrors are not asked."""
    from atoll.images.remote import Repository

    source = Repository(reference, options)
    source = source.without_mirrors() or source
    document = source.document(reference.at)
    if reference.digest is not None and digests.of(document.body) != reference.digest:
        raise errors.Corrupt(f"{source.where}: {document.digest} instead of {reference.digest}")
    return source, document
