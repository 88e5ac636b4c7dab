"""`atoll image verify`: is an image signed, by a key, by somebody, or as the policy asks?"""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import LIST, TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.trust.judge import Vouched
    from atoll.trust.policy import Requirement

COMMAND = Command(
    name="image verify",
    usage="image verify [OPTIONS] NAME[:TAG|@DIGEST]",
    help="Verify an image's signatures at its registry: by the policy, a key, or a certificate's owner",
    flags=(
        Flag(name="attestations", help="Print the attached attestations (in-toto statements), a line each"),
        Flag(name="ca-roots", kind=TEXT, what="file", help="Authorities of keyless signatures (PEM)"),
        Flag(name="certificate-identity", kind=TEXT, what="name", help="Who must have signed: mail address or URI"),
        Flag(name="certificate-oidc-issuer", kind=TEXT, what="url", help="Who must have vouched for the signer"),
        Flag(name="creds", kind=TEXT, what="name:password", help="Credentials instead of those kept by login"),
        Flag(name="key", kind=LIST, what="file", help="A public key (PEM); any of several is enough"),
        Flag(name="rekor-key", kind=LIST, what="file", help="The transparency log's public key (PEM)"),
        Flag(name="tls-verify", help="false: plain HTTP and unverified TLS are allowed this once"),
    ),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.base import jsontext
    from atoll.cli.registry_flags import options
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.sign import attestations, verify

    engine, name = open_engine(), given.args[0]
    requirement, chosen = _requirement(given), options(engine, given, name)
    if given.on("attestations"):
        for statement in attestations(engine, name, requirement, options=chosen):
            sys.stdout.write(jsontext.dumps(statement) + "\n")
        return 0
    found = verify(engine, name, requirement, options=chosen)
    if requirement is None:
        sys.stdout.write(f"{name}: accepted by policy\n")
    for one in found:
        sys.stdout.write(_line(one) + "\n")
    return 0


def _line(one: Vouched) -> str:
    from atoll.base import jsontext

    shown: dict[str, object] = {"digest": one.claim.digests[0], "reference": one.claim.reference}
    if one.signer is not None:
        shown |= {"signer": [*one.signer.emails, *one.signer.uris], "issuer": one.signer.issuer}
    return jsontext.dumps(shown)


def _requirement(given: Given) -> Requirement | None:
    """What the flags ask for; None: the policy's business."""
    from atoll.trust.policy import SIGSTORE, Fulcio, Requirement

    keys, rekor = _read(given.texts("key")), _read(given.texts("rekor-key"))
    parts = [given.text(one) for one in ("ca-roots", "certificate-identity", "certificate-oidc-issuer")]
    if keys and any(parts):
        raise UsageError("--key and --ca-roots exclude one another", "image verify")
    if keys:
        return Requirement(kind=SIGSTORE, keys=keys, rekor=rekor)
    if not any(parts):
        return None
    roots, identity, issuer = parts
    if not roots or not identity or not issuer or not rekor:
        raise UsageError(
            "a keyless signature needs --ca-roots, --certificate-identity, --certificate-oidc-issuer, --rekor-key",
            "image verify",
        )
    fulcio = Fulcio(ca=_read((roots,))[0], issuer=issuer, email=identity)
    return Requirement(kind=SIGSTORE, fulcio=fulcio, rekor=rekor)


def _read(paths: tuple[str, ...]) -> tuple[bytes, ...]:
    from atoll.base import files

    try:
        return tuple([files.read_bytes(path) for path in paths])
    except OSError as error:
        raise errors.from_os_error(error, "read a key") from error
