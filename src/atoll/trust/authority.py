"""Certificates of keyless signatures: a short-lived one from a given authority, for somebody with a name.

Holds: `check`, `Signer`. Does not hold: when the signature was made (`rekor.py` proves it). Source: RFC 5280, 6.1,
for chains of two or three; sigstore's fulcio, docs/oid-info.md, for who the issuer says that it was.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ISSUER_OLD, _ISSUER = "1.3.6.1.4.1.57264.1.1", "1.3.6.1.4.1.57264.1.8"
_DEEPEST = 5


class Signer(Value):
    """Whom a certificate was given to: mail addresses and URIs, and who vouched for them."""

    emails: tuple[str, ...]
    uris: tuple[str, ...]
    issuer: str


def check(certificate: bytes, chain: bytes, roots: bytes, at: int) -> tuple[Any, Signer]:
    """The public key and the owner of a certificate that one of `roots` stands behind and that was valid at `at`
    (seconds since the epoch). All three are PEM; `chain` is what the signature brought and not trusted.

    Raises Denied saying what is wrong.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        between = x509.load_pem_x509_certificates(chain) if chain.strip() else []
        trusted = x509.load_pem_x509_certificates(roots)
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.CODE_SIGNING not in usages:
            raise errors.Denied("the certificate is not for signing code")
        _walk(leaf, between[:_DEEPEST], trusted, at)
        return leaf.public_key(), _signer(leaf)
    except (ValueError, TypeError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise errors.Denied(f"the certificate of the signature cannot be used: {error}") from None


def _walk(leaf: Any, between: list[Any], trusted: list[Any], at: int) -> None:
    """From the leaf up to a trusted certificate, each link signed, valid and allowed to be one."""
    _valid_at(leaf, at)
    _no_unknown_critical(leaf)
    current, below = leaf, 0
    for _ in range(_DEEPEST + 1):
        anchor = next((one for one in trusted if _issued(current, one)), None)
        if anchor is not None:
            _valid_at(anchor, at)
            _may_issue(anchor, below)
            return
        upper = next((one for one in between if _issued(current, one)), None)
        if upper is None:
            break
        _valid_at(upper, at)
        _no_unknown_critical(upper)
        _may_issue(upper, below)
        current, below = upper, below + 1
    raise errors.Denied("the certificate does not come from a trusted authority")


def _issued(lower: Any, upper: Any) -> bool:
    from cryptography.exceptions import InvalidSignature

    if lower.issuer != upper.subject:
        return False
    try:
        lower.verify_directly_issued_by(upper)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _may_issue(certificate: Any, below: int) -> None:
    from cryptography import x509

    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    if not basic.ca or (basic.path_length is not None and below > basic.path_length):
        raise errors.Denied("a certificate in the chain is not an authority's")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.key_cert_sign:
        raise errors.Denied("a certificate in the chain may not sign others")


def _valid_at(certificate: Any, at: int) -> None:
    begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    if not begin <= at <= end:
        raise errors.Denied("a certificate was not valid when the signature was made")


def _no_unknown_critical(certificate: Any) -> None:
    from cryptography import x509

    known = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName)
    for extension in certificate.extensions:
        if extension.critical and not isinstance(extension.value, known):
            raise errors.Denied(
                f"a certificate has the critical extension {extension.oid.dotted_string}, not known here"
            )


def _signer(leaf: Any) -> Signer:
    from cryptography import x509

    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    issuer = ""
    for extension in leaf.extensions:
        if extension.oid.dotted_string == _ISSUER:
            issuer = _utf8(extension.value.value)
        elif extension.oid.dotted_string == _ISSUER_OLD and not issuer:
            issuer = extension.value.value.decode("utf-8")
    return Signer(
        emails=tuple(names.get_values_for_type(x509.RFC822Name)),
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        issuer=issuer,
    )


def _utf8(der: bytes) -> str:
    """A DER UTF8String of fewer than 65536 bytes (X.690, 8.21)."""
    if der[:1] != b"\x0c" or len(der) < 2:
        raise ValueError("the issuer in the certificate is no UTF8String")
    length, start = der[1], 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(der[2 : 2 + count], "big"), 2 + count
        if count not in (1, 2):
            raise ValueError("the issuer in the certificate is too long")
    if len(der) != start + length:
        raise ValueError("the issuer in the certificate has another length")
    return der[start:].decode("utf-8")
