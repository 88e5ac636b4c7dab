"""GPG signatures of images (`signedBy`): checked by gpgv, the verifier that GnuPG ships for exactly this.

Holds: `opened` (a signed message's content, if one of the keys signed it), `dearmored`. Does not hold: where they
lie (`images/lookaside.py`), what they say (`payload.py`). Sources: containers-signature(5), gpgv(1), doc/DETAILS of
GnuPG ("Format of the --status-fd output"), RFC 9580.

gpgv has no keyring but the one it is given, asks nobody, and says on its status line what it found. One good
signature over one text is asked for: anything beside it, and anything expired or revoked, is a refusal.
"""

from __future__ import annotations

import binascii
import os

from atoll.base import errors
from atoll.trust.evidence import ATOMIC, MAX_PAYLOAD, Evidence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_MESSAGE = 4 << 20
_SECONDS = 30
_BEGIN, _END = b"-----BEGIN PGP PUBLIC KEY BLOCK-----", b"-----END PGP PUBLIC KEY BLOCK-----"
_BAD = ("BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "NODATA", "FAILURE", "ERROR")
_PLACES = ("/usr/bin", "/bin", "/usr/local/bin")


def find() -> str | None:
    """Where gpgv is installed; None where it is not."""
    for folder in _PLACES:
        if os.access(f"{folder}/gpgv", os.X_OK):
            return f"{folder}/gpgv"
    return None


def opened(message: Evidence, keys: Sequence[bytes]) -> Evidence:
    """The document in a signed message, if one of `keys` (each a keyring, armoured or not) signed it. Raises Denied,
    Unsupported without gpgv."""
    program = find()
    if program is None:
        raise errors.Unsupported("the policy asks for GPG signatures, and gpgv is not here", hint="apt install gpgv")
    if len(message.payload) > MAX_MESSAGE:
        raise errors.Denied("a GPG signature is too large")
    import tempfile

    with tempfile.TemporaryDirectory(prefix="atoll-gpgv-") as home:
        for name, content in (("keys", b"".join([dearmored(one) for one in keys])), ("message", message.payload)):
            with open(f"{home}/{name}", "wb") as file:
                file.write(content)
        content, said, code = _run(program, home)
    problem = _problem(said, code)
    if problem is not None:
        raise errors.Denied(f"GPG signature: {problem}")
    return Evidence(kind=ATOMIC, payload=content, signature=b"")


def _run(program: str, home: str) -> tuple[bytes, list[list[str]], int]:
    """The text, the words of each status line, the exit code. A bomb in the message ends at the bound of a text."""
    import subprocess

    argv = [program, "--homedir", home, "--keyring", f"{home}/keys", "--status-fd", "2", "--output", "-"]
    with open(f"{home}/said", "w+b") as said:
        process = subprocess.Popen(
            [*argv, f"{home}/message"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        )
        assert process.stdout is not None
        with process.stdout:
            content = process.stdout.read(MAX_PAYLOAD + 1)
        if len(content) > MAX_PAYLOAD:
            process.kill()
        try:
            code = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        said.seek(0)
        text = said.read(256 << 10).decode("utf-8", "replace")
    lines = [line.removeprefix("[GNUPG:] ").split() for line in text.splitlines() if line.startswith("[GNUPG:] ")]
    return content, [line for line in lines if line], code


def _problem(said: list[list[str]], code: int) -> str | None:
    """Why it is not one good signature over one text; None if it is."""
    kinds = [line[0] for line in said]
    if "NO_PUBKEY" in kinds:
        key = next((line[1] for line in said if line[0] == "NO_PUBKEY" and len(line) > 1), "")
        return f"it is by key {key}, which is none of the policy's"
    for kind, words in (("EXPKEYSIG", "its key has expired"), ("REVKEYSIG", "its key was revoked"),
                        ("EXPSIG", "it has expired"), ("BADSIG", "it is not genuine")):  # fmt: skip
        if kind in kinds:
            return words
    if any(kind in kinds for kind in _BAD) or kinds.count("GOODSIG") != 1 or kinds.count("VALIDSIG") != 1:
        return "it cannot be verified"
    if kinds.count("PLAINTEXT") != 1 or code != 0:
        return "it is not one signed text"
    return None


def dearmored(keyring: bytes) -> bytes:
    """A keyring as gpgv takes it, from whichever form it has: all armoured blocks of a text, or as it is. Raises
    Denied."""
    if _BEGIN not in keyring:
        return keyring
    found = b""
    for block in keyring.split(_BEGIN)[1:]:
        body, mark, _ = block.partition(_END)
        if not mark:
            raise errors.Denied("a GPG key of the policy is cut off")
        lines = [line.strip() for line in body.splitlines()]
        # Headers such as "Comment:" end at an empty line; "=…" is a checksum (RFC 9580, 6.1).
        start = lines.index(b"", 1) if b"" in lines[1:] else 0
        data = [line for line in lines[start:] if line and not line.startswith(b"=") and b":" not in line]
        try:
            found += binascii.a2b_base64(b"".join(data), strict_mode=True)
        except ValueError:
            raise errors.Denied("a GPG key of the policy is damaged") from None
    return found
