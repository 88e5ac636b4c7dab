"""Kubernetes' NetworkPolicy (networking.k8s.io/v1) as a value.

Holds: `NetworkPolicy` and what it is made of, reading one from a document, writing it as one. Does not hold: what it
comes to for given containers (`network/netpolicy.py`). A namespace is a network here, a pod a container.
Named ports are refused: containers have numbers only.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.spec.codec import wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

API, KIND = "networking.k8s.io/v1", "NetworkPolicy"
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
PROTOCOLS = ("TCP", "UDP", "SCTP")
NAME_LABEL = "kubernetes.io/metadata.name"
"""The label that every network has, its name being the value."""
_MOST = 256


class Requirement(Value):
    """One condition on labels."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """As Kubernetes judges it: NotIn holds for whoever has no such label, too."""
        if self.operator == "Exists":
            return self.key in labels
        if self.operator == "DoesNotExist":
            return self.key not in labels
        return (labels.get(self.key) in self.values if self.key in labels else False) == (self.operator == "In")


class Selector(Value):
    """All conditions together; none selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels fulfil it."""
        return all(one.holds(labels) for one in self.requirements)


class Peer(Value):
    """Others: an address block without some parts of it, or containers (`pods` None: all) of networks (`networks`
    None: of the policy's own)."""

    block: str = ""
    parts: tuple[str, ...] = ()
    pods: Selector | None = None
    networks: Selector | None = None


class PortRange(Value):
    """Ports from `first` to `last` of a protocol."""

    protocol: str = "TCP"
    first: int = 0
    last: int = 65535


class Rule(Value):
    """What is allowed: `peers` None are all, `ports` None every one of every protocol."""

    peers: tuple[Peer, ...] | None = None
    ports: tuple[PortRange, ...] | None = None


class NetworkPolicy(Value):
    """`ingress`, `egress`: None leaves that direction as it is; else what no policy allows is refused."""

    name: str
    network: str
    selector: Selector = Selector()
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None


# --- reading --------------------------------------------------------------------------------------------------------


def parse(document: Any, network: str = "") -> NetworkPolicy:
    """One document; `network` is where it says none. Raises InvalidArgument with the path of what is wrong."""
    top = _object(document, KIND, ("apiVersion", "kind", "metadata", "spec", "status"))
    if top.get("apiVersion") != API or top.get("kind") != KIND:
        raise wrong("apiVersion, kind", f"{API}, {KIND}", [top.get("apiVersion"), top.get("kind")])
    metadata = _object(top.get("metadata") or {}, "metadata")
    spec = _object(top.get("spec") or {}, "spec", ("podSelector", "policyTypes", "ingress", "egress"))
    ingress = _rules(spec.get("ingress"), "spec.ingress", "from")
    egress = _rules(spec.get("egress"), "spec.egress", "to")
    kinds = spec.get("policyTypes")
    if kinds is None:  # as Kubernetes defaults it
        kinds = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    if not isinstance(kinds, list) or any(one not in ("Ingress", "Egress") for one in kinds):
        raise wrong("spec.policyTypes", "a list of Ingress and Egress", kinds)
    place = metadata.get("namespace") or network
    if network and place != network:
        raise errors.InvalidArgument(f"metadata.namespace is {place}, not the network {network}")
    return NetworkPolicy(
        name=name_of(metadata.get("name"), "metadata.name"),
        network=_word(place, "metadata.namespace"),
        selector=_selector(spec.get("podSelector"), "spec.podSelector"),
        ingress=ingress if "Ingress" in kinds else None,
        egress=egress if "Egress" in kinds else None,
    )


def name_of(value: Any, path: str) -> str:
    """A policy's name: as Kubernetes has names of objects."""
    text = _word(value, path)
    legal = len(text) < 254 and text[:1].isalnum() and all(c.isascii() and (c.isalnum() or c in "-.") for c in text)
    if not legal or text != text.lower():
        raise wrong(path, "lower case letters, digits, '-' and '.'", value)
    return text


def _rules(value: Any, path: str, direction: str) -> tuple[Rule, ...]:
    found = []
    for number, entry in enumerate(_list(value, path)):
        at = f"{path}[{number}]"
        one = _object(entry or {}, at, (direction, "ports"))
        peers = [_peer(peer, f"{at}.{direction}") for peer in _list(one.get(direction), f"{at}.{direction}")]
        ports = [_ports(port, f"{at}.ports") for port in _list(one.get("ports"), f"{at}.ports")]
        found.append(Rule(peers=tuple(peers) or None, ports=tuple(ports) or None))
    return tuple(found)


def _peer(value: Any, path: str) -> Peer:
    one = _object(value, path, ("podSelector", "namespaceSelector", "ipBlock"))
    if "ipBlock" in one:
        if len(one) > 1:
            raise wrong(path, "ipBlock alone, or selectors", sorted(one))
        block = _object(one["ipBlock"], f"{path}.ipBlock", ("cidr", "except"))
        whole = _word(block.get("cidr"), f"{path}.ipBlock.cidr")
        parts = [
            _word(part, f"{path}.ipBlock.except") for part in _list(block.get("except"), f"{path}.ipBlock.except")
        ]
        return Peer(block=whole, parts=tuple(parts))
    if not one:
        raise wrong(path, "podSelector, namespaceSelector or ipBlock", value)
    pods, networks = one.get("podSelector"), one.get("namespaceSelector")
    return Peer(
        pods=_selector(pods, f"{path}.podSelector") if pods is not None else None,
        networks=_selector(networks, f"{path}.namespaceSelector") if networks is not None else None,
    )


def _ports(value: Any, path: str) -> PortRange:
    one = _object(value, path, ("protocol", "port", "endPort"))
    protocol = one.get("protocol", "TCP")
    if protocol not in PROTOCOLS:
        raise wrong(f"{path}.protocol", "one of " + ", ".join(PROTOCOLS), protocol)
    first, last = one.get("port"), one.get("endPort")
    if first is None:
        if last is not None:
            raise wrong(f"{path}.endPort", "a port before it", last)
        return PortRange(protocol=protocol)
    if isinstance(first, str):
        raise wrong(f"{path}.port", "a number: containers have no names for ports", first)
    for number in (first, last if last is not None else first):
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 65536:
            raise wrong(f"{path}.port", "a port from 1 to 65535", number)
    if last is not None and last < first:
        raise wrong(f"{path}.endPort", f"at least {first}", last)
    return PortRange(protocol=protocol, first=first, last=last if last is not None else first)


def _selector(value: Any, path: str) -> Selector:
    one = _object(value or {}, path, ("matchLabels", "matchExpressions"))
    labels = _object(one.get("matchLabels") or {}, f"{path}.matchLabels")
    found = [
        Requirement(key=_word(key, path), operator="In", values=(_text(text, f"{path}.matchLabels.{key}"),))
        for key, text in sorted(labels.items())
    ]
    for entry in _list(one.get("matchExpressions"), f"{path}.matchExpressions"):
        found.append(_requirement(entry, f"{path}.matchExpressions"))
    return Selector(requirements=tuple(found))


def _requirement(entry: Any, path: str) -> Requirement:
    one = _object(entry, path, ("key", "operator", "values"))
    operator = one.get("operator")
    if operator not in OPERATORS:
        raise wrong(f"{path}.operator", "one of " + ", ".join(OPERATORS), operator)
    values = tuple([_text(text, f"{path}.values") for text in _list(one.get("values"), f"{path}.values")])
    if bool(values) != (operator in ("In", "NotIn")):
        raise wrong(f"{path}.values", "some for In and NotIn, none for the others", list(values))
    return Requirement(key=_word(one.get("key"), f"{path}.key"), operator=str(operator), values=values)


def _object(value: Any, path: str, known: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise wrong(path, "an object", value)
    unknown = [key for key in value if known and key not in known]
    if unknown:
        raise wrong(path, "only " + ", ".join(known), unknown[0])
    return value


def _list(value: Any, path: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > _MOST:
        raise wrong(path, f"a list of at most {_MOST}", value)
    return value


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str) or len(value) > 4096:
        raise wrong(path, "a text", value)
    return value


def _word(value: Any, path: str) -> str:
    text = _text(value, path)
    if not text or any(c.isspace() or not c.isprintable() for c in text):
        raise wrong(path, "one word", value)
    return text


# --- writing --------------------------------------------------------------------------------------------------------


def document(policy: NetworkPolicy) -> dict[str, Any]:
    """The same policy as a document, in which `parse` finds it again."""
    spec: dict[str, Any] = {"podSelector": _shown(policy.selector), "policyTypes": []}
    for key, direction, rules in (("Ingress", "from", policy.ingress), ("Egress", "to", policy.egress)):
        if rules is not None:
            spec["policyTypes"].append(key)
            spec[key.lower()] = [_rule(rule, direction) for rule in rules]
    metadata = {"name": policy.name, "namespace": policy.network}
    return {"apiVersion": API, "kind": KIND, "metadata": metadata, "spec": spec}


def _rule(rule: Rule, direction: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if rule.peers is not None:
        found[direction] = [_peer_document(one) for one in rule.peers]
    if rule.ports is not None:
        found["ports"] = [_port_document(one) for one in rule.ports]
    return found


def _peer_document(one: Peer) -> dict[str, Any]:
    if one.block:
        return {"ipBlock": {"cidr": one.block, **({"except": list(one.parts)} if one.parts else {})}}
    found = {"podSelector": one.pods, "namespaceSelector": one.networks}
    return {key: _shown(selector) for key, selector in found.items() if selector is not None}


def _port_document(one: PortRange) -> dict[str, Any]:
    if (one.first, one.last) == (0, 65535):
        return {"protocol": one.protocol}
    return {"protocol": one.protocol, "port": one.first, **({"endPort": one.last} if one.last != one.first else {})}


def _shown(selector: Selector) -> dict[str, Any]:
    plain = [one for one in selector.requirements if one.operator == "In" and len(one.values) == 1]
    rest = [one for one in selector.requirements if one not in plain]
    found: dict[str, Any] = {}
    if len({one.key for one in plain}) < len(plain):  # a key twice has no place in matchLabels
        plain, rest = [], list(selector.requirements)
    if plain:
        found["matchLabels"] = {one.key: one.values[0] for one in plain}
    if rest:
        found["matchExpressions"] = [
            {"key": one.key, "operator": one.operator, **({"values": list(one.values)} if one.values else {})}
            for one in rest
        ]
    return found
