"""What a container may reach outside: the policy as typed, as a value, and its rules.

Holds: `Policy`, `parse`, `chain` (the container's own nftables chain). Does not hold: opening what a name resolved to
(`helper/gate.py`), looking for the name in a connection (`helper/proxy.py`).

    none                       nothing but its own networks
    deny-private               everything but private, local and special addresses (RFC 1918, 4193, 6890)
    allow=RULE,RULE            only these; with deny-private these besides
    RULE                       NAME[:PORT[/PROTOCOL]]    *.example.org is every name below it, not itself
                               ADDRESS|CIDR[:PORT[/PROTOCOL]], IPv6 with a port in brackets
A NAME without /PROTOCOL is for TLS and HTTP, at 443 and 80 or at PORT, and the connection must say that name (SNI,
Host). With /tcp or /udp whatever it resolves to is open at that port, and nobody looks inside.
"""

from __future__ import annotations

import struct

from atoll.base import errors
from atoll.base.value import Value
from atoll.linux import nftables as nft
from atoll.linux.nftables import INET, NETWORK, TRANSPORT, R
from atoll.network import addresses
from atoll.network.addresses import Subnet
from atoll.network.firewall import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.linux.netlink import Message

WEB = (443, 80)
_PROTOCOLS = {"tcp": 6, "udp": 17}


class NameRule(Value):
    """`name` in lower case, with `below` every name under it instead. `port` 0 means the web's; `protocol` "" that
    the name is looked for in the connection."""

    name: str
    below: bool = False
    port: int = 0
    protocol: str = ""

    def fits(self, name: str) -> bool:
        """Whether the rule is about this name (lower case, no last dot)."""
        return name.endswith("." + self.name) if self.below else name == self.name

    @property
    def ports(self) -> tuple[int, ...]:
        """Those that it opens."""
        return (self.port,) if self.port else WEB


class NetRule(Value):
    """Addresses; `port` 0 for all, `protocol` "" for any."""

    subnet: Subnet
    port: int = 0
    protocol: str = ""


class Policy(Value):
    """`open`: what no rule names is allowed, but for private addresses."""

    open: bool = False
    names: tuple[NameRule, ...] = ()
    nets: tuple[NetRule, ...] = ()

    def rules_for(self, name: str) -> tuple[NameRule, ...]:
        """The rules about a name."""
        return tuple([rule for rule in self.names if rule.fits(name)])

    def may_ask(self, name: str) -> bool:
        """Whether its resolver answers for the name."""
        return self.open or bool(self.rules_for(name))


def parse(words: tuple[str, ...]) -> Policy:
    """The policy of all --egress flags together. Raises InvalidArgument."""
    open_, closed = False, False
    names: list[NameRule] = []
    nets: list[NetRule] = []
    for word in words:
        if word == "none":
            closed = True
        elif word == "deny-private":
            open_ = True
        elif word.startswith("allow="):
            for text in word.removeprefix("allow=").split(","):
                rule = _rule(text.strip())
                if isinstance(rule, NameRule):
                    names.append(rule)
                else:
                    nets.append(rule)
        else:
            raise errors.InvalidArgument(
                f"invalid --egress: {word!r}", hint="none, deny-private or allow=NAME|CIDR[:PORT],…"
            )
    if closed and (open_ or names or nets):
        raise errors.InvalidArgument("conflicting options: --egress none and other rules")
    return Policy(open=open_, names=tuple(names), nets=tuple(nets))


def _rule(text: str) -> NameRule | NetRule:
    if not text:
        raise errors.InvalidArgument("invalid --egress: an empty rule")
    host, port, protocol = _split(text)
    bare = host.partition("/")[0]
    if addresses.is_address(bare):
        subnet = addresses.parse_subnet(host if "/" in host else f"{host}/{128 if ':' in host else 32}", "address")
        return NetRule(subnet=subnet, port=port, protocol=protocol)
    below = host.startswith("*.")
    name = (host[2:] if below else host).lower().rstrip(".")
    legal = name and len(name) < 254 and all(0 < len(part) < 64 for part in name.split("."))
    if not legal or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        raise errors.InvalidArgument(f"invalid --egress rule: {text!r}", hint="a name, *.name, address or CIDR")
    if all(part.isdecimal() for part in name.split(".")):
        raise errors.InvalidArgument(f"invalid --egress rule: {text!r} is neither an address nor a name")
    if protocol and not port:
        raise errors.InvalidArgument(f"invalid --egress rule: {text!r}", hint="a protocol needs a port")
    return NameRule(name=name, below=below, port=port, protocol=protocol)


def _split(text: str) -> tuple[str, int, str]:
    """(host, port, protocol)."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise errors.InvalidArgument(f"invalid --egress rule: {text!r}")
        rest = rest[1:]
    elif text.count(":") > 1:
        return text, 0, ""
    else:
        host, _, rest = text.partition(":")
    if not rest:
        return host, 0, ""
    port, slash, protocol = rest.partition("/")
    if (
        not port.isascii()
        or not port.isdecimal()
        or not 0 < int(port) < 65536
        or (slash and protocol not in _PROTOCOLS)
    ):
        raise errors.InvalidArgument(f"invalid --egress rule: {text!r}", hint="PORT or PORT/tcp or PORT/udp")
    return host, int(port), protocol


def chain_name(container: str) -> str:
    """The chain of a container's policy."""
    return f"eg-{container[:12]}"


def log_group(network: str) -> int:
    """The nflog group on which a network's helper hears of refused packets: one listener a group."""
    return 0x4000 | int(network[:4], 16) & 0x3FFF


def refusal(network: str) -> list[Message]:
    """The chain that refuses what a policy on this network does not allow: told, and seen to be refused."""
    name = f"refuse-{network[:12]}"
    tcp = (nft.meta(nft.META_L4PROTO), nft.compare(b"\6"))
    return [
        nft.add_chain(INET, TABLE, name),
        nft.flush_chain(INET, TABLE, name),
        nft.add_rule(INET, TABLE, name, nft.log(log_group(network), "egress")),
        nft.add_rule(INET, TABLE, name, *tcp, nft.reject_reset()),
        nft.add_rule(INET, TABLE, name, nft.reject_unreachable(3)),
    ]


def chain(container: str, policy: Policy, network: str) -> list[Message]:
    """The container's chain, filled anew in the same batch: what returns from it is allowed."""
    name, refused = chain_name(container), f"refuse-{network[:12]}"
    messages = [*refusal(network), nft.add_chain(INET, TABLE, name), nft.flush_chain(INET, TABLE, name)]

    def rule(*expressions: bytes) -> None:
        messages.append(nft.add_rule(INET, TABLE, name, *expressions))

    for one in policy.nets:
        width = len(one.subnet.base)
        offset = 16 if width == 4 else 24
        tests = [
            nft.meta(nft.META_NFPROTO),
            nft.compare(b"\2" if width == 4 else b"\x0a"),
            nft.payload(NETWORK, offset, width),
        ]
        if one.subnet.prefix < width * 8:
            mask = ((1 << width * 8) - (1 << (width * 8 - one.subnet.prefix))).to_bytes(width, "big")
            tests.append(nft.masked(mask))
        tests.append(nft.compare(one.subnet.base))
        if one.protocol:
            tests += [nft.meta(nft.META_L4PROTO), nft.compare(bytes((_PROTOCOLS[one.protocol],)))]
        elif one.port:
            tests += [nft.meta(nft.META_L4PROTO), nft.compare(b"\x01", nft.NE)]
        if one.port:
            tests += [nft.payload(TRANSPORT, 2, 2), nft.compare(struct.pack(">H", one.port))]
        rule(*tests, nft.back())
    # What names with a protocol have resolved to, for as long as they may be used.
    for test, source, target, width, opened in (
        (b"\2", 12, 16, 4, "open4"),
        (b"\x0a", 8, 24, 16, "open6"),
    ):
        words = width // 4
        rule(
            nft.meta(nft.META_NFPROTO),
            nft.compare(test),
            nft.payload(NETWORK, source, width, R),
            nft.payload(NETWORK, target, width, R + words),
            nft.meta(nft.META_L4PROTO, R + 2 * words),
            nft.payload(TRANSPORT, 2, 2, R + 2 * words + 1),
            nft.lookup(opened),
            nft.back(),
        )
    if policy.open:
        for test, offset, width, private in ((b"\2", 16, 4, "private4"), (b"\x0a", 24, 16, "private6")):
            at = nft.payload(NETWORK, offset, width)
            rule(nft.meta(nft.META_NFPROTO), nft.compare(test), at, nft.lookup(private), nft.goto(refused))
    else:
        rule(nft.goto(refused))
    return messages
