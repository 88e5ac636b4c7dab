"""The policy: which images may be used, by transport and scope (containers-policy.json(5)).

Holds: `Policy`, `Requirement`, strict parsing, `Policy.requirements` (the longest scope that fits). Does not hold:
judging (`judge.py`), where the file is (`engine/images/admission.py`). An unknown member or type is an error, not
ignored: a rule that is not understood cannot be kept.
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.trust import identity
from atoll.trust.evidence import decode
from atoll.trust.identity import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.spec.reference import Reference

ACCEPT, REJECT, GPG, SIGSTORE = "insecureAcceptAnything", "reject", "signedBy", "sigstoreSigned"
_KEYS = ("keyPath", "keyPaths", "keyData", "keyDatas")
_REKOR = ("rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas")


class Fulcio(Value):
    """Whose certificates count: authorities (PEM), and the issuer and mail address that they must show."""

    ca: bytes
    issuer: str
    email: str


class Requirement(Value):
    """One rule. `keys` and `rekor` are PEM texts (with `signedBy` GPG keyrings), read when the policy is."""

    kind: str
    keys: tuple[bytes, ...] = ()
    fulcio: Fulcio | None = None
    rekor: tuple[bytes, ...] = ()
    identity: Identity = Identity()


class Policy(Value):
    """`scopes` are (transport, scope, requirements); a transport's own default has the scope ""."""

    default: tuple[Requirement, ...]
    scopes: tuple[tuple[str, str, tuple[Requirement, ...]], ...] = ()
    source: str = ""

    def requirements(self, transport: str, names: list[str]) -> tuple[Requirement, ...]:
        """What an image has to meet; `names` are its scopes, the most special first (`scopes_of`)."""
        known = {scope: found for kind, scope, found in self.scopes if kind == transport}
        for name in (*names, ""):
            if name in known:
                return known[name]
        return self.default

    @property
    def accepts_everything(self) -> bool:
        """Whether no image needs to be looked at."""
        every = [self.default, *[found for _, _, found in self.scopes]]
        return all(one.kind == ACCEPT for found in every for one in found)


ANYTHING = Policy(default=(Requirement(kind=ACCEPT),))


def scopes_of(reference: Reference) -> list[str]:
    """The scopes of an image at a registry: itself, its repository, each namespace, the host, `*.domain`."""
    own = f"{reference.name}@{reference.digest}" if reference.digest else f"{reference.name}:{reference.tag}"
    found, name = [own], reference.name
    while "/" in name:
        found.append(name)
        name = name.rpartition("/")[0]
    found.append(name)
    host = name if name.startswith("[") else name.partition(":")[0]
    while "." in host:
        host = host.partition(".")[2]
        found.append(f"*.{host}")
    return found


def path_scopes(path: str, at: str) -> list[str]:
    """The scopes of a layout: the folder with the image's name, the folder, its parents but for the root."""
    found = [f"{path}:{at}"] if at else []
    while path not in ("", "/"):
        found.append(path)
        path = path.rpartition("/")[0]
    return found


def parse(text: bytes, source: str) -> Policy:
    """A policy file's content; the keys that it names are read too. Raises InvalidArgument naming what is wrong."""
    try:
        document = jsontext.loads(text)
        if not isinstance(document, dict) or set(document) - {"default", "transports"}:
            raise ValueError("it has members default and transports, and no others")
        default = _requirements(document.get("default"))
        scopes = []
        for transport, table in (document.get("transports") or {}).items():
            if not isinstance(table, dict):
                raise ValueError(f"transports.{transport} is no object")
            scopes += [(transport, scope, _requirements(rules)) for scope, rules in table.items()]
    except (ValueError, OSError) as error:
        raise errors.InvalidArgument(
            f"the policy {source} cannot be used: {error}", hint="see containers-policy.json(5); nothing is accepted"
        ) from None
    return Policy(default=default, scopes=tuple(scopes), source=source)


def _requirements(document: Any) -> tuple[Requirement, ...]:
    if not isinstance(document, list) or not document:
        raise ValueError("a list of at least one rule is expected")
    return tuple([_requirement(one) for one in document])


def _requirement(document: Any) -> Requirement:
    if not isinstance(document, dict):
        raise ValueError("a rule is an object")
    kind = document.get("type")
    if kind in (ACCEPT, REJECT):
        _only(document, "type")
        return Requirement(kind=kind)
    if kind == GPG:
        return _signed_by(document)
    if kind != SIGSTORE:
        raise ValueError(f"a rule of type {kind!r} is not known")
    _only(document, "type", "fulcio", "signedIdentity", *_KEYS, *_REKOR)
    keys = _material(document, "keyPath", "keyData")
    fulcio = _fulcio(document["fulcio"]) if "fulcio" in document else None
    rekor = _material(document, "rekorPublicKeyPath", "rekorPublicKeyData")
    if bool(keys) == bool(fulcio):
        raise ValueError("sigstoreSigned needs either a key or fulcio")
    if fulcio and not rekor:
        raise ValueError("sigstoreSigned with fulcio needs rekorPublicKeyPath or rekorPublicKeyData")
    signed = identity.parse(document.get("signedIdentity"))
    return Requirement(kind=SIGSTORE, keys=keys, fulcio=fulcio, rekor=rekor, identity=signed)


def _signed_by(document: dict[str, Any]) -> Requirement:
    _only(document, "type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity")
    if document.get("keyType") != "GPGKeys":
        raise ValueError("signedBy has keyType GPGKeys, and no other")
    keys = _material(document, "keyPath", "keyData")
    if not keys:
        raise ValueError("signedBy needs keyPath, keyPaths or keyData")
    return Requirement(kind=GPG, keys=keys, identity=identity.parse(document.get("signedIdentity")))


def _fulcio(document: Any) -> Fulcio:
    if not isinstance(document, dict):
        raise ValueError("fulcio is an object")
    _only(document, "caPath", "caData", "oidcIssuer", "subjectEmail")
    ca = _material(document, "caPath", "caData", lists=False)
    issuer, email = document.get("oidcIssuer"), document.get("subjectEmail")
    if len(ca) != 1 or not isinstance(issuer, str) or not issuer or not isinstance(email, str) or not email:
        raise ValueError("fulcio needs caPath or caData, oidcIssuer and subjectEmail")
    return Fulcio(ca=ca[0], issuer=issuer, email=email)


def _material(document: dict[str, Any], path: str, data: str, *, lists: bool = True) -> tuple[bytes, ...]:
    """The keys or certificates from whichever of the four members is there; at most one may be."""
    names = (path, path + "s", data, data + "s") if lists else (path, data)
    given = [name for name in names if name in document]
    if len(given) > 1:
        raise ValueError(f"only one of {', '.join(names)} may be given")
    if not given:
        return ()
    value = document[given[0]]
    values = value if given[0].endswith("s") else [value]
    if not isinstance(values, list) or not values or not all(isinstance(one, str) and one for one in values):
        raise ValueError(f"{given[0]} is not what it should be")
    from atoll.base import files

    is_data = given[0].startswith(data)
    return tuple([decode(one) if is_data else files.read_bytes(one) for one in values])


def _only(document: dict[str, Any], *known: str) -> None:
    unknown = set(document) - set(known)
    if unknown:
        raise ValueError(f"{document.get('type', 'fulcio')} has no member {', '.join(sorted(unknown))}")
