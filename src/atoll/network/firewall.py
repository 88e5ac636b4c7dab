"""The tables `inet atoll` and `bridge atoll`: what passes between networks, ports, and the outside.

Holds: the rules, which never change, and the sets that say to whom they apply, as messages of one batch. Does not
hold: sending them (`linux/nftables.py`), egress policy's own chains (`egress.py`).

    inet   user          empty, for the administrator; asked first of everything that concerns our bridges
           raw           what only pretends to be the host's loopback is dropped
           forward       replies, one's own network, published ports, the outside; nothing between networks; and no
                         more connections than one container may have
           input         what containers with an egress policy may reach of this host
           publish       dnat by port (from prerouting and output)
           masquerade    on the way out, and where a reply would not come back by us
    bridge spoof         a port sends from its own MAC and addresses, answers for its own, and is no router

A container is a handful of elements, a network a few more; a table that somebody flushed is made again from the store
(`engine/networks/repair.py`). Other engines' tables are not touched, and a packet that they drop is dropped.
"""

from __future__ import annotations

import struct

from atoll.base.value import Value
from atoll.linux import nftables as nft
from atoll.linux.nftables import BRIDGE, INET, LINK, NETWORK, TRANSPORT, Element, R
from atoll.network.addresses import Subnet
from atoll.network.ports import PROTOCOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.linux.netlink import Message

TABLE = "atoll"
MARK = "atoll-1"
"""An empty chain whose name is the version of the rules: the last of its batch, so it is there or nothing is."""
PORT_PREFIX = "atv"
_COUNTED = 1024
"""How many connections of a container the kernel is made to walk through at most, at one new one."""
PRIVATE4 = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.168.0.0/16"
    " 198.18.0.0/15 224.0.0.0/3"
).split()
PRIVATE6 = "::/127 64:ff9b::/96 100::/64 2002::/16 fc00::/7 fe80::/10 ff00::/8".split()


class Published(Value):
    """A port of the host and where it leads: `address` of the host, b"" for every one of the family."""

    protocol: str
    address: bytes
    port: int
    to: bytes
    to_port: int


def ifname(name: str) -> bytes:
    """As sets hold it."""
    return name.encode().ljust(16, b"\0")


def _host(number: int) -> bytes:
    return struct.pack("=I", number)


_IPV4 = (nft.meta(nft.META_NFPROTO), nft.compare(b"\2"))
_IPV6 = (nft.meta(nft.META_NFPROTO), nft.compare(b"\x0a"))
_FROM_US = (nft.meta(nft.META_IIFNAME), nft.lookup("bridges"))
_TO_US = (nft.meta(nft.META_OIFNAME), nft.lookup("bridges"))
_NOT_TO_US = (nft.meta(nft.META_OIFNAME), nft.lookup("bridges", absent=True))
_REPLY = (nft.ct(nft.CT_STATE), nft.masked(_host(nft.ESTABLISHED | nft.RELATED)), nft.compare(_host(0), nft.NE))
_DNAT = (nft.ct(nft.CT_STATUS), nft.masked(_host(nft.DST_NAT)), nft.compare(_host(0), nft.NE))
_TO_HOST = (nft.fib_type(), nft.compare(_host(2)))
_SOURCE4, _SOURCE6 = nft.payload(NETWORK, 12, 4), nft.payload(NETWORK, 8, 16)
_TARGET4, _TARGET6 = nft.payload(NETWORK, 16, 4), nft.payload(NETWORK, 24, 16)
_PORT = nft.payload(TRANSPORT, 2, 2)


def everything(connections: int = 0) -> list[Message]:
    """Both tables, for a host that has neither. `connections`: how many a container may have at once with what is
    beyond its network (0: any number)."""
    made = [*_sets(flood=bool(connections)), *_chains(), *_forward(connections)]
    return [*made, *_nat(), *_spoof(), nft.add_chain(INET, TABLE, MARK)]


def asking_for_connections() -> list[Message]:
    """A table that is gone again when the batch is done: the kernel has loaded connection tracking for it."""
    probe = f"{TABLE}-asks"
    rule = nft.add_rule(INET, probe, "one", nft.ct(nft.CT_STATE))
    return [nft.add_table(INET, probe), nft.add_chain(INET, probe, "one"), rule, nft.delete_table(INET, probe)]


def _sets(*, flood: bool = False) -> list[Message]:
    name, ip, ip6, proto, port, ether = nft.T_IFNAME, nft.T_IP, nft.T_IP6, nft.T_PROTO, nft.T_PORT, nft.T_ETHER
    made = [nft.add_table(INET, TABLE), nft.add_table(BRIDGE, TABLE)]
    wanted: tuple[tuple[int, str, tuple[int, ...], tuple[int, ...], int], ...] = (
        (INET, "bridges", (name,), (), 0),
        (INET, "internal", (name,), (), 0),
        (INET, "same", (name, name), (), 0),
        (INET, "nets4", (ip,), (), nft.SET_INTERVAL),
        (INET, "nets6", (ip6,), (), nft.SET_INTERVAL),
        (INET, "publish4", (proto, port), (ip, port), 0),
        (INET, "publish4at", (ip, proto, port), (ip, port), 0),
        (INET, "publish6", (proto, port), (ip6, port), 0),
        (INET, "publish6at", (ip6, proto, port), (ip6, port), 0),
        (INET, "limited4", (ip,), (nft.T_VERDICT,), 0),
        (INET, "limited6", (ip6,), (nft.T_VERDICT,), 0),
        (INET, "private4", (ip,), (), nft.SET_INTERVAL),
        (INET, "private6", (ip6,), (), nft.SET_INTERVAL),
        (INET, "proxy4", (ip, ip, port), (port,), nft.SET_TIMEOUT),
        (INET, "proxy6", (ip6, ip6, port), (port,), nft.SET_TIMEOUT),
        (INET, "open4", (ip, ip, proto, port), (), nft.SET_TIMEOUT),
        (INET, "open6", (ip6, ip6, proto, port), (), nft.SET_TIMEOUT),
        (BRIDGE, "mac", (name, ether), (), 0),
        (BRIDGE, "ip4", (name, ip), (), 0),
        (BRIDGE, "ip6", (name, ip6), (), 0),
    )
    if flood:
        passing = nft.SET_TIMEOUT | nft.SET_DYNAMIC
        wanted += ((INET, "flood4", (ip,), (), nft.SET_DYNAMIC), (INET, "flood6", (ip6,), (), nft.SET_DYNAMIC))
        wanted += ((INET, "over4", (ip,), (), passing), (INET, "over6", (ip6,), (), passing))
    for number, (family, set_name, key, data, flags) in enumerate(wanted, 1):
        made.append(nft.add_set(family, TABLE, set_name, key, data=data, flags=flags, number=number))
    made.append(nft.add_elements(INET, TABLE, "private4", intervals([_subnet(one) for one in PRIVATE4])))
    made.append(nft.add_elements(INET, TABLE, "private6", intervals([_subnet(one) for one in PRIVATE6])))
    return made


def _subnet(text: str) -> Subnet:
    from atoll.network.addresses import parse_subnet

    return parse_subnet(text)


def intervals(subnets: list[Subnet]) -> list[Element]:
    """The members of an interval set for these subnets, which must not overlap."""
    found = []
    for one in subnets:
        width = len(one.base)
        found.append(Element(one.base))
        if one.end < 1 << (8 * width):
            found.append(Element(one.end.to_bytes(width, "big"), end=True))
    return found


def _chains() -> list[Message]:
    def base(name: str, kind: str, hook: int, priority: int, family: int = INET) -> Message:
        return nft.add_chain(family, TABLE, name, kind=kind, hook=hook, priority=priority)

    return [
        nft.add_chain(INET, TABLE, "user"),
        nft.add_chain(INET, TABLE, "publish"),
        base("raw", "filter", nft.PREROUTING, -300),
        base("forward", "filter", nft.FORWARD, 0),
        base("input", "filter", nft.INPUT, 0),
        base("prerouting", "nat", nft.PREROUTING, -100),
        base("output", "nat", nft.OUTPUT, -100),
        base("masquerade", "nat", nft.POSTROUTING, 100),
        base("spoof", "filter", nft.PREROUTING, -300, BRIDGE),
    ]


def _rule(chain: str, *expressions: bytes, comment: str = "") -> Message:
    return nft.add_rule(INET, TABLE, chain, *expressions, comment=comment)


def _flood(chain: str, connections: int) -> list[Message]:
    """A new connection of a container that has as many as it may: refused, before it takes a place in the table that
    all of the host's share. Only what a container begins counts, not what comes to its published ports.

    The kernel counts by walking through all that live, a thousand times slower with 50,000 than without: so one
    connection in `share` is counted, against as much less, and who is over is refused everything for a while."""
    if not connections:
        return []
    share = max(1, connections // _COUNTED)
    new = (*_FROM_US, nft.ct(nft.CT_STATE), nft.masked(_host(nft.NEW)), nft.compare(_host(0), nft.NE))
    some = (nft.one_in(share), nft.compare(_host(0))) if share > 1 else ()
    rules = []
    for test, source, width in ((_IPV4, _SOURCE4, "4"), (_IPV6, _SOURCE6, "6")):
        over = (source, nft.lookup(f"over{width}"))
        counted = (source, nft.count_over(f"flood{width}", connections // share), nft.remember(f"over{width}", 1000))
        for one in ((*new, *test, *over), (*new, *some, *test, *counted)):
            rules.append(_rule(chain, *one, nft.reject_unreachable(3), comment="more connections than it may have"))
    return rules


def _forward(connections: int) -> list[Message]:
    loopback = (_TARGET4, nft.masked(b"\xff\0\0\0"), nft.compare(b"\x7f\0\0\0"))
    metadata = (_TARGET4, nft.masked(b"\xff\xff\0\0"), nft.compare(b"\xa9\xfe\0\0"))
    same = (nft.meta(nft.META_IIFNAME), nft.meta(nft.META_OIFNAME, R + 4), nft.lookup("same"))
    internal_in = (nft.meta(nft.META_IIFNAME), nft.lookup("internal"))
    internal_out = (nft.meta(nft.META_OIFNAME), nft.lookup("internal"))
    dns = (_PORT, nft.compare(struct.pack(">H", 53)))
    return [
        # route_localnet is set on our bridges for the host's sake (CVE-2020-8558 is what this rule is there for).
        _rule("raw", *_FROM_US, *_IPV4, *loopback, nft.drop(), comment="the host's loopback is not on a bridge"),
        _rule("forward", *_FROM_US, nft.jump("user")),
        _rule("forward", *_TO_US, nft.jump("user")),
        _rule("forward", *_FROM_US, *_REPLY, nft.accept(), comment="replies"),
        _rule("forward", *_TO_US, *_REPLY, nft.accept(), comment="replies"),
        *_flood("forward", connections),
        _rule("forward", *same, nft.accept(), comment="within a network"),
        _rule("forward", *_IPV4, *_FROM_US, _SOURCE4, nft.lookup("limited4", into=0), comment="egress policy"),
        _rule("forward", *_IPV6, *_FROM_US, _SOURCE6, nft.lookup("limited6", into=0), comment="egress policy"),
        _rule("forward", *internal_in, nft.reject_unreachable(3), comment="internal networks stay inside"),
        _rule("forward", *internal_out, nft.drop(), comment="internal networks stay inside"),
        _rule("forward", *_TO_US, *_DNAT, nft.accept(), comment="published ports"),
        _rule("forward", *_TO_US, *_FROM_US, nft.reject_unreachable(3), comment="networks are apart"),
        _rule("forward", *_TO_US, nft.drop(), comment="what is not published"),
        _rule("forward", *_FROM_US, *_IPV4, *metadata, nft.reject_unreachable(3), comment="cloud metadata"),
        _rule("forward", *_FROM_US, nft.accept(), comment="the outside"),
        # This host itself, for those with an egress policy: the names and the proxy, nothing else.
        _rule("input", *_FROM_US, *_REPLY, nft.accept()),
        *_flood("input", connections),
        _rule("input", *_FROM_US, *_DNAT, nft.accept()),
        _rule("input", *_FROM_US, *dns, nft.accept(), comment="names"),
        _rule(
            "input", *_FROM_US, nft.meta(nft.META_L4PROTO), nft.compare(b"\x3a"), nft.accept(), comment="neighbours"
        ),
        _rule("input", *_IPV4, *_FROM_US, _SOURCE4, nft.lookup("limited4", into=0)),
        _rule("input", *_IPV6, *_FROM_US, _SOURCE6, nft.lookup("limited6", into=0)),
    ]


def _nat() -> list[Message]:
    port_in_two = nft.payload(TRANSPORT, 2, 2, R + 1)
    loopback6 = (*_IPV6, _TARGET6, nft.compare(bytes(15) + b"\1"), nft.back())
    proto = nft.meta(nft.META_L4PROTO)
    rules = [
        # A name that a policy allows is looked for in the first bytes of the connection, by the helper.
        _rule("prerouting", *_IPV4, *_proxied("proxy4", 12, 16, 4), nft.redirect(R + 8), comment="egress by name"),
        _rule("prerouting", *_IPV6, *_proxied("proxy6", 8, 24, 16), nft.redirect(R + 8), comment="egress by name"),
        _rule("prerouting", *_TO_HOST, nft.jump("publish")),
        # IPv6 has no route_localnet: the helper listens on ::1 itself.
        _rule("output", *loopback6),
        _rule("output", *_TO_HOST, nft.jump("publish")),
    ]
    for family, test, width, at in ((nft.IPV4, _IPV4, 4, 16), (nft.IPV6, _IPV6, 16, 24)):
        name = "publish4" if width == 4 else "publish6"
        words = width // 4
        address = nft.payload(NETWORK, at, width, R)
        exact = (address, nft.meta(nft.META_L4PROTO, R + words), nft.payload(TRANSPORT, 2, 2, R + words + 1))
        rules += [
            _rule("publish", *test, *exact, nft.lookup(name + "at", into=R), nft.dnat(family, R, R + words)),
            _rule("publish", *test, proto, port_in_two, nft.lookup(name, into=R), nft.dnat(family, R, R + words)),
        ]
    hairpin4 = (*_IPV4, *_TO_US, *_DNAT, _SOURCE4, nft.lookup("nets4"), _TARGET4, nft.lookup("nets4"))
    hairpin6 = (*_IPV6, *_TO_US, *_DNAT, _SOURCE6, nft.lookup("nets6"), _TARGET6, nft.lookup("nets6"))
    from_loopback = (_SOURCE4, nft.masked(b"\xff\0\0\0"), nft.compare(b"\x7f\0\0\0"))
    return [
        *rules,
        _rule("masquerade", *hairpin4, nft.masquerade(), comment="a published port from a neighbour"),
        _rule("masquerade", *hairpin6, nft.masquerade(), comment="a published port from a neighbour"),
        _rule("masquerade", *_IPV4, *_TO_US, *from_loopback, nft.masquerade(), comment="from the host's loopback"),
        _rule("masquerade", *_IPV4, *_NOT_TO_US, _SOURCE4, nft.lookup("nets4"), nft.masquerade()),
        _rule("masquerade", *_IPV6, *_NOT_TO_US, _SOURCE6, nft.lookup("nets6"), nft.masquerade()),
    ]


def _proxied(name: str, source: int, target: int, width: int) -> tuple[bytes, ...]:
    """TCP from a limited container to an address and port that stand for an allowed name: the proxy's port into a
    register."""
    words = width // 4
    return (
        nft.meta(nft.META_L4PROTO),
        nft.compare(b"\6"),
        nft.payload(NETWORK, source, width, R),
        nft.payload(NETWORK, target, width, R + words),
        nft.payload(TRANSPORT, 2, 2, R + 2 * words),
        nft.lookup(name, into=R + 8),
    )


def _spoof() -> list[Message]:
    """What comes out of a container's port is from the MAC and the addresses that the container was given."""
    own_port = (nft.meta(nft.META_IIFNAME), nft.compare(PORT_PREFIX.encode()))
    protocol = nft.meta(nft.META_PROTOCOL)
    arp, ip, ip6 = (
        (protocol, nft.compare(b"\x08\x06")),
        (protocol, nft.compare(b"\x08\0")),
        (
            protocol,
            nft.compare(b"\x86\xdd"),
        ),
    )
    name = nft.meta(nft.META_IIFNAME)
    # By the last header, whatever other headers stand before it.
    icmp6 = (nft.meta(nft.META_L4PROTO), nft.compare(b"\x3a"))
    kind = nft.payload(TRANSPORT, 0, 1)

    def rule(*expressions: bytes, comment: str = "") -> Message:
        return nft.add_rule(BRIDGE, TABLE, "spoof", *own_port, *expressions, comment=comment)

    def own(set_name: str, base: int, offset: int, length: int) -> tuple[bytes, ...]:
        """Not one of the port's own: the rule goes on."""
        return name, nft.payload(base, offset, length, R + 4), nft.lookup(set_name, absent=True)

    unspecified = (_SOURCE6, nft.compare(bytes(16)))
    return [
        rule(*own("mac", LINK, 6, 6), nft.drop(), comment="a MAC that is not its own"),
        # Most packets first: each pays for the rules before its own.
        rule(*ip, *own("ip4", NETWORK, 12, 4), nft.drop(), comment="an address that is not its own"),
        rule(*ip, nft.accept()),
        rule(*arp, *own("mac", NETWORK, 8, 6), nft.drop(), comment="ARP for another's MAC"),
        rule(*arp, *own("ip4", NETWORK, 14, 4), nft.drop(), comment="ARP for another's address"),
        rule(*arp, nft.accept()),
        rule(*ip6, *icmp6, kind, nft.compare(b"\x86"), nft.drop(), comment="no container is a router"),
        rule(*ip6, *icmp6, kind, nft.compare(b"\x89"), nft.drop(), comment="no container is a router"),
        rule(
            *ip6, *icmp6, kind, nft.compare(b"\x88"), *own("ip6", TRANSPORT, 8, 16), nft.drop(),
            comment="a neighbour that it is not",
        ),
        rule(*ip6, *icmp6, *unspecified, nft.accept(), comment="looking for a neighbour without an address yet"),
        rule(*ip6, *own("ip6", NETWORK, 8, 16), nft.drop(), comment="an address that is not its own"),
        rule(*ip6, nft.accept()),
        rule(nft.drop(), comment="neither IP nor ARP"),
    ]  # fmt: skip


def limited(container_chain: str, own: tuple[bytes, ...]) -> Change:
    """A container with an egress policy: by its addresses to its chain."""
    change = Change()
    for width, name in ((4, "limited4"), (16, "limited6")):
        keys = [Element(one, container_chain.encode()) for one in own if len(one) == width]
        change.put(name, keys, verdicts=True)
    return change


# --- what comes and goes --------------------------------------------------------------------------------------------


class Change:
    """Elements to add or to take away, of either table: what a bridge, a port or a publication is."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, str, list[Element], bool]] = []

    def put(self, name: str, elements: list[Element], *, family: int = INET, verdicts: bool = False) -> Change:
        """Some elements of one set."""
        if elements:
            self.parts.append((family, name, elements, verdicts))
        return self

    def add(self) -> list[Message]:
        """The messages that put them there."""
        return [nft.add_elements(f, TABLE, name, found, verdicts=v) for f, name, found, v in self.parts]

    def remove(self) -> list[Message]:
        """The messages that take them away, there or not (Linux 6.3; before that `present` first)."""
        return [nft.destroy_elements(f, TABLE, name, found) for f, name, found, _ in self.parts]

    def delete(self) -> list[Message]:
        """The same for members known to be there, on any kernel."""
        return [nft.delete_elements(f, TABLE, name, found) for f, name, found, _ in self.parts]


def bridge(name: str, subnets: tuple[Subnet, ...], *, internal: bool, masquerade: bool = True) -> Change:
    """A network's bridge."""
    change = Change().put("bridges", [Element(ifname(name))]).put("same", [Element(ifname(name) * 2)])
    if internal:
        change.put("internal", [Element(ifname(name))])
    if masquerade and not internal:
        for subnet in subnets:
            change.put("nets6" if subnet.six else "nets4", intervals([subnet]))
    return change


def port(link: str, mac: bytes, own: tuple[bytes, ...]) -> Change:
    """A container's port on a bridge: what it may send from."""
    from atoll.network.addresses import link_local

    padded = mac + b"\0\0"
    four = [Element(ifname(link) + one) for one in own if len(one) == 4]
    six = [Element(ifname(link) + one) for one in (*own, link_local(mac)) if len(one) == 16]
    change = Change().put("mac", [Element(ifname(link) + padded)], family=BRIDGE)
    return change.put("ip4", four, family=BRIDGE).put("ip6", six, family=BRIDGE)


def published(ports: tuple[Published, ...]) -> Change:
    """Ports of the host that lead into a container."""
    change = Change()
    for one in ports:
        protocol, there = bytes((PROTOCOLS[one.protocol], 0, 0, 0)), struct.pack(">HH", one.port, 0)
        name = "publish6" if len(one.to) == 16 else "publish4"
        to = one.to + struct.pack(">HH", one.to_port, 0)
        key = (one.address + protocol + there) if one.address else protocol + there
        change.put(name + ("at" if one.address else ""), [Element(key, to)])
    return change
