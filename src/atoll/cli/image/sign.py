"""`atoll image sign`: a signature beside an image at its registry, as cosign, podman and skopeo read it."""

from __future__ import annotations

import os
import sys

from atoll.base import errors
from atoll.cli.options import LIST, TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="image sign",
    usage="image sign [OPTIONS] --key FILE NAME[:TAG|@DIGEST]",
    help="Sign an image at its registry, or make a pair of keys",
    flags=(
        Flag(name="annotation", short="a", kind=LIST, what="key=value", help="Also say this in the signature"),
        Flag(name="creds", kind=TEXT, what="name:password", help="Credentials instead of those kept by login"),
        Flag(name="generate-key", kind=TEXT, what="prefix", help="Make PREFIX.key and PREFIX.pub; sign nothing"),
        Flag(name="key", kind=TEXT, what="file", help="The private key"),
        Flag(name="key-type", kind=TEXT, what="type", help="Of a new key: ecdsa (default), ed25519, rsa"),
        Flag(name="passphrase-file", kind=TEXT, what="file", help="Its passphrase; else $COSIGN_PASSWORD, or asked"),
        Flag(name="referrer", help="As a referrer (OCI 1.1), not under the tag sha256-….sig"),
        Flag(name="sign-identity", kind=TEXT, what="name", help="Sign for this name (default: the image's)"),
        Flag(name="tls-verify", help="false: plain HTTP and unverified TLS are allowed this once"),
    ),
    least=0,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    prefix = given.text("generate-key")
    if prefix is not None:
        return _generate(given, prefix)
    key = given.text("key")
    if not key or not given.args:
        raise UsageError("'atoll image sign' needs --key and an image (or --generate-key)", "image sign")
    from atoll.base import files
    from atoll.cli.registry_flags import options
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.sign import sign

    engine, name = open_engine(), given.args[0]
    try:
        pem = files.read_bytes(key)
    except OSError as error:
        raise errors.from_os_error(error, "read the private key") from error
    done = sign(
        engine,
        name,
        pem,
        passphrase(given, again=False) if b"ENCRYPTED" in pem else None,
        tag=not given.on("referrer"),
        annotations=_pairs(given.texts("annotation")),
        identity=given.text("sign-identity"),
        options=options(engine, given, name),
    )
    sys.stdout.write(f"Signed {done.digest} as {done.reference}\nSignature: {done.manifest}\n")
    return 0


def _generate(given: Given, prefix: str) -> int:
    from atoll.base import files
    from atoll.trust import keys

    private, public = f"{prefix}.key", f"{prefix}.pub"
    for path in (private, public):
        if os.path.lexists(path):
            raise errors.Conflict(
                f"{path} exists already", hint="a key in use is not overwritten; choose another name"
            )
    secret, pem = keys.generate(given.text("key-type") or "ecdsa", passphrase(given, again=True))
    try:
        files.write_atomic(private, secret, mode=0o600, sync=True)
        files.write_atomic(public, pem, mode=0o644, sync=True)
    except OSError as error:
        raise errors.from_os_error(error, "write the keys") from error
    sys.stdout.write(f"Private key written to {private}\nPublic key written to {public}\n")
    return 0


def passphrase(given: Given, *, again: bool) -> bytes:
    """The passphrase from the file, the environment or the terminal; `again`: a new one, asked for twice."""
    from atoll.base import files

    path = given.text("passphrase-file")
    if path is not None:
        try:
            return files.read_bytes(path).removesuffix(b"\n")
        except OSError as error:
            raise errors.from_os_error(error, "read the passphrase") from error
    known = os.environ.get("COSIGN_PASSWORD")
    if known is not None:
        return known.encode()
    if not sys.stdin.isatty():
        raise errors.InvalidArgument(
            "a passphrase is needed, and stdin is not a terminal", hint="use --passphrase-file or COSIGN_PASSWORD"
        )
    import getpass

    first = getpass.getpass("Passphrase of the private key: ")
    if again and getpass.getpass("Again: ") != first:
        raise errors.InvalidArgument("the passphrases differ")
    return first.encode()


def _pairs(texts: tuple[str, ...]) -> dict[str, str] | None:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"invalid annotation '{text}': key=value", "image sign")
        pairs[key] = value
    return pairs or None
