"""Digests: `sha256:<64 hex digits>`, the names of all content (image-spec, descriptor.md, "Digests").

Holds: checking and computing them. Does not hold: files of content (`images/content.py`).
A digest travels as a plain string that went through `check` once, at the edge. Only sha256 and sha512 are
registered algorithms; Atoll stores sha256, and refuses sha512 by name, as nothing in use writes it.
"""

from __future__ import annotations

import sys

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_HEX = frozenset("0123456789abcdef")
_DOCUMENT = 1 << 18
_LENGTHS = {"sha256": 64, "sha512": 128}


def valid(text: object) -> bool:
    """Whether this is a well-formed sha256 digest."""
    return isinstance(text, str) and len(text) == 71 and text.startswith("sha256:") and _HEX.issuperset(text[7:])


def check(text: object, what: str = "digest") -> str:
    """The digest itself. Raises InvalidArgument saying which part is wrong; Unsupported for sha512."""
    if valid(text):
        return str(text)
    if not isinstance(text, str) or ":" not in text:
        raise errors.InvalidArgument(f"{what}: {text!r} is not a digest such as sha256:0123…")
    algorithm, _, encoded = text.partition(":")
    length = _LENGTHS.get(algorithm)
    if length is None:
        raise errors.InvalidArgument(f"{what}: unknown algorithm {algorithm!r} in {text!r}")
    if len(encoded) != length or not _HEX.issuperset(encoded):
        raise errors.InvalidArgument(f"{what}: {algorithm} needs {length} lower-case hex digits, got {encoded!r}")
    raise errors.Unsupported(f"{what}: {algorithm} digests are not supported", hint="push the image with sha256")


def encoded(digest: str) -> str:
    """The hex digits without the algorithm."""
    return digest.partition(":")[2]


def of(data: bytes | str) -> str:
    """The sha256 digest of some bytes, or of a text as UTF-8."""
    content = data.encode() if isinstance(data, str) else data
    return "sha256:" + _sha256(content)


def _sha256(content: bytes) -> str:
    """Of a document by the interpreter's own code: loading OpenSSL's, which is faster at megabytes, takes 3 ms."""
    if len(content) <= _DOCUMENT:
        try:
            if sys.version_info >= (3, 12):
                from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]
            else:
                from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
            return str(sha256(content).hexdigest())
        except ImportError:  # another interpreter
            pass
    import hashlib

    return hashlib.sha256(content).hexdigest()


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """The chainID of each layer, bottom first: it names the result of a layer upon all below it
    (image-spec, config.md, "Layer ChainID")."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(of(f"{chain[-1]} {diff_id}") if chain else diff_id)
    return tuple(chain)
