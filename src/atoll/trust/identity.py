"""Which name a signature must be for: `signedIdentity` of containers-policy.json(5).

Holds: the rules (`parse`, `matches`). Does not hold: signatures. Names are compared in their full form
(`docker.io/library/debian:12`), whichever short form either side wrote.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.spec.reference import Reference

_MEMBERS: dict[str, tuple[str, ...]] = {
    "matchExact": (),
    "matchRepoDigestOrExact": (),
    "matchRepository": (),
    "exactReference": ("dockerReference",),
    "exactRepository": ("dockerRepository",),
    "remapIdentity": ("prefix", "signedPrefix"),
}


class Identity(Value):
    """A rule: its `kind`, and the one or two texts that some kinds have."""

    kind: str = "matchRepoDigestOrExact"
    first: str = ""
    second: str = ""


def parse(document: Any) -> Identity:
    """From the policy. Raises ValueError."""
    if document is None:
        return Identity()
    if not isinstance(document, dict) or document.get("type") not in _MEMBERS:
        raise ValueError(f"signedIdentity has type {document.get('type') if isinstance(document, dict) else None!r}")
    kind = document["type"]
    members = _MEMBERS[kind]
    if set(document) != {"type", *members}:
        raise ValueError(f"signedIdentity {kind} has exactly: type {' '.join(members)}")
    values = [document[one] for one in members]
    if not all(isinstance(one, str) and one for one in values):
        raise ValueError(f"signedIdentity {kind}: texts are expected")
    if kind in ("exactReference", "exactRepository"):
        _named(values[0])
    return Identity(kind=kind, first=values[0] if values else "", second=values[1] if len(values) > 1 else "")


def matches(rule: Identity, intended: Reference, signed: str) -> bool:
    """Whether a signature that names `signed` may vouch for `intended`."""
    try:
        name, tag = _named(signed)
        if rule.kind == "exactReference":
            return (name, tag) == _named(rule.first)
        if rule.kind == "exactRepository":
            return name == _named(rule.first)[0]
        wanted = intended.name
        if rule.kind == "remapIdentity":
            wanted = _remapped(wanted, rule)
        if rule.kind == "matchRepository":
            return name == wanted
        if intended.digest is not None and rule.kind != "matchExact":
            return name == wanted
        exact = f"@{intended.digest}" if intended.digest is not None else f":{intended.tag}"
        return name == wanted and tag == exact
    except errors.AtollError:
        return False


def _named(text: str) -> tuple[str, str]:
    """Repository, and `:tag` or `@digest` exactly as it is written: a name without either stays so."""
    parsed = references.parse(text)
    written = "@" in text or ":" in text.rpartition("/")[2]
    if not written:
        return parsed.name, ""
    return parsed.name, f"@{parsed.digest}" if parsed.digest else f":{parsed.tag}"


def _remapped(name: str, rule: Identity) -> str:
    if name == rule.first:
        return rule.second
    if name.startswith(rule.first + "/"):
        return rule.second + name[len(rule.first) :]
    return name
