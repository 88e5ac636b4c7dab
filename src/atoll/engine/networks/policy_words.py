"""A policy between containers from words of a command line, for those who would rather not write YAML.

--select KEY=VALUE                whom it is about; several are all to hold; none: everybody on the network
--allow-in WHO[:PORT[-PORT][/PROTOCOL]]
--allow-out …                     WHO is `any`, KEY=VALUE[,KEY=VALUE…], an address or a CIDR (IPv6 in brackets)
--deny-in, --deny-out             closed, but for what is allowed
"""

from __future__ import annotations

from atoll.base import errors
from atoll.network import addresses
from atoll.spec.networkpolicy import PROTOCOLS, NetworkPolicy, Peer, PortRange, Requirement, Rule, Selector, name_of


def policy(
    network: str,
    name: str,
    *,
    select: tuple[str, ...] = (),
    allow_in: tuple[str, ...] = (),
    allow_out: tuple[str, ...] = (),
    deny_in: bool = False,
    deny_out: bool = False,
) -> NetworkPolicy:
    """The policy. Raises InvalidArgument."""
    if not (allow_in or allow_out or deny_in or deny_out):
        raise errors.InvalidArgument(
            "a policy that says nothing", hint="--allow-in, --allow-out, --deny-in or --deny-out"
        )
    return NetworkPolicy(
        name=name_of(name, "policy name"),
        network=network,
        selector=_selector(",".join(select)) if select else Selector(),
        ingress=tuple([_rule(one) for one in allow_in]) if allow_in or deny_in else None,
        egress=tuple([_rule(one) for one in allow_out]) if allow_out or deny_out else None,
    )


def _selector(text: str) -> Selector:
    found = []
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not key or not equals or any(c.isspace() for c in key):
            raise errors.InvalidArgument(f"invalid selector: {part!r}", hint="write KEY=VALUE")
        found.append(Requirement(key=key, operator="In", values=(value,)))
    return Selector(requirements=tuple(found))


def _rule(text: str) -> Rule:
    who, ports = _split(text)
    return Rule(peers=_peers(who), ports=(_ports(ports, text),) if ports else None)


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        who, _, rest = text[1:].partition("]")
        return who, rest.removeprefix(":")
    if "=" not in text and text.count(":") > 1:  # IPv6 without a port
        return text, ""
    who, _, ports = text.rpartition(":") if ":" in text else (text, "", "")
    return who, ports


def _peers(who: str) -> tuple[Peer, ...] | None:
    if who in ("any", ""):
        return None
    if "=" in who:
        return (Peer(pods=_selector(who)),)
    block = who if "/" in who else f"{who}/{128 if ':' in who else 32}"
    return (Peer(block=str(addresses.parse_subnet(block, "address"))),)


def _ports(ports: str, text: str) -> PortRange:
    numbers, _, protocol = ports.partition("/")
    first, _, last = numbers.partition("-")
    known = (protocol or "tcp").upper()
    legal = all(one.isascii() and one.isdecimal() and 0 < int(one) < 65536 for one in (first, last or first))
    if known not in PROTOCOLS or not legal or int(last or first) < int(first):
        raise errors.InvalidArgument(f"invalid ports in {text!r}", hint="WHO:PORT[-PORT][/tcp|udp|sctp]")
    return PortRange(protocol=known, first=int(first), last=int(last or first))
