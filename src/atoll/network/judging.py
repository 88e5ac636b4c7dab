"""The chains and sets that hold containers to the policies of their network, as messages of one batch.

Holds: `base` (what there is once on a host), `put` and `clear` (one network's). Does not hold: what policies come to
(`netpolicy.py`), sending (`linux/nftables.py`).

    bridge  policy (forward)      between containers of one network: by a closed address to its network's chain
            judge4-ID, judge6-ID  what belongs to a connection that is on its way passes; then out, then in
    inet    policy-out            from a container outwards, before anything is translated, and to this host
            policy-in             into a container: a published port
    both    out4-ID, in4-ID, …    the set of what is open, else told and refused

The bridge has no connection tracking everywhere (NF_CONNTRACK_BRIDGE), so that a TCP connection is its first segment,
and what is answered of other protocols is a set of addresses and ports that forget themselves.
This host itself reaches its containers whatever policies say, as in Kubernetes; they reach its names, no more.
"""

from __future__ import annotations

import struct

from atoll.linux import nftables as nft
from atoll.linux.nftables import BRIDGE, INET, NETWORK, TRANSPORT, Element, R
from atoll.network import egress
from atoll.network.firewall import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.linux.netlink import Message, Netlink
    from atoll.network.netpolicy import Box, Judgement

MARK = "policy-1"
"""An empty chain whose name is the version of the base rules: the last of its batch."""
REPLY_MS = 120_000
MOST_FLOWS = 65536
MAPS = ((INET, "policyout"), (INET, "policyin"), (BRIDGE, "judged"))
_TCP, _UDP, _SCTP = 6, 17, 132
_MULTICAST6 = (130, 136), (143, 143)
"""ICMPv6 of neighbours and groups; what may not be said by containers the chain `spoof` has dropped."""


def _protocol(number: int, operator: int = nft.EQ) -> tuple[bytes, ...]:
    return nft.meta(nft.META_L4PROTO), nft.compare(bytes((number,)), operator)


def _family(width: int, family: int) -> tuple[bytes, ...]:
    """Only IPv4, or only IPv6."""
    if family == BRIDGE:
        return nft.meta(nft.META_PROTOCOL), nft.compare(b"\x08\0" if width == 4 else b"\x86\xdd")
    return nft.meta(nft.META_NFPROTO), nft.compare(b"\2" if width == 4 else b"\x0a")


def _source(width: int, register: int = R) -> bytes:
    return nft.payload(NETWORK, 12 if width == 4 else 8, width, register)


def _target(width: int, register: int = R) -> bytes:
    return nft.payload(NETWORK, 16 if width == 4 else 24, width, register)


def _type(width: int) -> int:
    return nft.T_IP if width == 4 else nft.T_IP6


_FROM_US = (nft.meta(nft.META_IIFNAME), nft.lookup("bridges"))
_TO_US = (nft.meta(nft.META_OIFNAME), nft.lookup("bridges"))
_NONE = struct.pack("=I", 0)
_REPLY = (nft.ct(nft.CT_STATE), nft.masked(struct.pack("=I", nft.ESTABLISHED | nft.RELATED)),
          nft.compare(_NONE, nft.NE))  # fmt: skip
_DNAT = (nft.ct(nft.CT_STATUS), nft.masked(struct.pack("=I", nft.DST_NAT)), nft.compare(_NONE, nft.NE))


def base() -> list[Message]:
    """For a host on which no network has had policies yet; the tables of `firewall.py` are there."""
    messages, number = [], 0
    for family, name in MAPS:
        for width in (4, 16):
            number += 1
            key, data = (_type(width),), (nft.T_VERDICT,)
            messages.append(nft.add_set(family, TABLE, _sized(name, width), key, data=data, number=number))
    for name, hook, priority in (
        ("policy-pre", nft.PREROUTING, -150),
        ("policy-forward", nft.FORWARD, -5),
        ("policy-input", nft.INPUT, -5),
    ):
        messages.append(nft.add_chain(INET, TABLE, name, kind="filter", hook=hook, priority=priority))
    messages.append(nft.add_chain(BRIDGE, TABLE, "policy", kind="filter", hook=nft.FORWARD, priority=-200))

    def rule(chain: str, *expressions: bytes, family: int = INET, comment: str = "") -> None:
        messages.append(nft.add_rule(family, TABLE, chain, *expressions, comment=comment))

    local = (nft.fib_type(), nft.compare(struct.pack("=I", 2)))
    rule("policy-pre", *_FROM_US, *_REPLY, nft.accept())
    rule("policy-pre", *local, nft.accept(), comment="a port that is published, or this host: judged there")
    rule("policy-forward", *_FROM_US, *_REPLY, nft.accept())
    rule("policy-forward", *_TO_US, *_REPLY, nft.accept())
    rule("policy-input", *_FROM_US, *_REPLY, nft.accept())
    rule("policy-input", *_FROM_US, *_DNAT, nft.accept(), comment="judged before it was translated")
    names = (nft.payload(TRANSPORT, 2, 2), nft.compare(struct.pack(">H", 53)))
    for number in (_TCP, _UDP):
        rule("policy-input", *_FROM_US, *_protocol(number), *names, nft.accept(), comment="names")
    rule("policy-input", *_FROM_US, *_protocol(58), nft.accept(), comment="neighbours")
    for width in (4, 16):
        out = (*_family(width, INET), _source(width), nft.lookup(_sized("policyout", width), into=0))
        into = (*_family(width, INET), _target(width), nft.lookup(_sized("policyin", width), into=0))
        rule("policy-pre", *_FROM_US, *out, comment="policy: out")
        rule("policy-forward", *_FROM_US, *_DNAT, *out, comment="policy: out")
        rule("policy-input", *_FROM_US, *out, comment="policy: out")
        rule("policy-forward", *_TO_US, *into, comment="policy: in")
        judged, there = _sized("judged", width), _family(width, BRIDGE)
        rule("policy", *there, _source(width), nft.lookup(judged, into=0), family=BRIDGE)
        rule("policy", *there, _target(width), nft.lookup(judged, into=0), family=BRIDGE)
    messages.append(nft.add_chain(INET, TABLE, MARK))
    return messages


def _sized(name: str, width: int) -> str:
    return name + ("4" if width == 4 else "6")


def _names(network: str, width: int) -> dict[str, str]:
    """Names of one network's chains and sets."""
    short, digit = network[:12], 4 if width == 4 else 6
    return {key: f"{key}{digit}-{short}" for key in ("judge", "out", "in", "openout", "openin", "shutout", "shutin",
                                                      "answers")}  # fmt: skip


# --- one network ----------------------------------------------------------------------------------------------------


def put(network: str, judgement: Judgement, sock: Netlink) -> list[Message]:
    """A network's chains, filled as the judgement says, in place of what was there. `sock` is asked who is in the
    maps now. Raises OSError."""
    messages: list[Message] = []
    number = 0
    for family in (INET, BRIDGE):
        for width in (4, 16):
            names = _names(network, width)
            for key, types, flags in (
                ("openout", (_type(width),) * 2 + (nft.T_PROTO, nft.T_PORT), nft.SET_INTERVAL),
                ("openin", (_type(width),) * 2 + (nft.T_PROTO, nft.T_PORT), nft.SET_INTERVAL),
                ("shutout", (_type(width),), 0),
                ("shutin", (_type(width),), 0),
            ):
                number += 1
                messages.append(nft.add_set(family, TABLE, names[key], types, flags=flags, number=number))
                messages.append(nft.flush_set(family, TABLE, names[key]))
            if family == BRIDGE:
                number += 1
                key_types = (*(_type(width),) * 2, nft.T_PROTO, nft.T_PORT, nft.T_PORT)
                flags = nft.SET_TIMEOUT | nft.SET_DYNAMIC
                made = nft.add_set(
                    family, TABLE, names["answers"], key_types, flags=flags, number=number, size=MOST_FLOWS
                )
                messages.append(made)
            messages += _chains(family, width, network)
            messages += _members(family, width, names, judgement)
    return [*messages, *_maps(network, judgement, sock)]


def _chains(family: int, width: int, network: str) -> list[Message]:
    names = _names(network, width)
    wanted = {"out": _refusing(family, width, network, out=True), "in": _refusing(family, width, network, out=False)}
    messages: list[Message] = []
    for key, rules in wanted.items():
        messages += _chain(family, names[key], rules)
    if family == BRIDGE:
        messages += _chain(family, names["judge"], _judging(width, names))
    return messages


def _chain(family: int, name: str, rules: list[tuple[bytes, ...]]) -> list[Message]:
    return [
        nft.add_chain(family, TABLE, name),
        nft.flush_chain(family, TABLE, name),
        *[nft.add_rule(family, TABLE, name, *rule) for rule in rules],
    ]


def _refusing(family: int, width: int, network: str, *, out: bool) -> list[tuple[bytes, ...]]:
    """What is in the set returns; all else is told and refused. A packet too short to have a port is refused, too."""
    words = width // 4
    own, peer = (
        (_source(width, R), _target(width, R + words)) if out else (_target(width, R), _source(width, R + words))
    )
    key = (own, peer, nft.meta(nft.META_L4PROTO, R + 2 * words), nft.payload(TRANSPORT, 2, 2, R + 2 * words + 1))
    names = _names(network, width)
    told = (nft.log(egress.log_group(network), "policy-out" if out else "policy-in"),)
    rules = [(*one, nft.back()) for one in _neighbours(width)]  # bridges may call these hooks, too (br_netfilter)
    rules += [(*key, nft.lookup(names["openout" if out else "openin"]), nft.back()), told]
    return [*rules, (nft.drop(),)] if family == BRIDGE else [*rules, *_refused()]


def _refused() -> list[tuple[bytes, ...]]:
    return [(*_protocol(_TCP), nft.reject_reset()), (nft.reject_unreachable(3),)]


def _neighbours(width: int) -> list[tuple[bytes, ...]]:
    found: list[tuple[bytes, ...]] = []
    for low, high in _MULTICAST6 if width == 16 else ():
        between = (nft.compare(bytes((low,)), nft.GE), nft.compare(bytes((high,)), nft.LE))
        found.append((*_protocol(58), nft.payload(TRANSPORT, 0, 1), *between))
    return found


def _judging(width: int, names: dict[str, str]) -> list[tuple[bytes, ...]]:
    words = width // 4
    icmp = 1 if width == 4 else 58
    rules: list[tuple[bytes, ...]] = []
    # 1. What comes after a first fragment: that one was judged, and without it nothing is put together.
    if width == 4:
        rules.append(
            (nft.payload(NETWORK, 6, 2), nft.masked(b"\x1f\xff"), nft.compare(b"\0\0", nft.NE), nft.accept())
        )
    else:
        rules.append((nft.header6(44, 2, 2), nft.masked(b"\xff\xf8"), nft.compare(b"\0\0", nft.NE), nft.accept()))
        rules += [(*one, nft.accept()) for one in _neighbours(width)]
    # 2. TCP but for a first segment.
    flags = (nft.payload(TRANSPORT, 13, 1), nft.masked(b"\x12"), nft.compare(b"\x02", nft.NE))
    rules.append((*_protocol(_TCP), *flags, nft.accept()))
    # 3. Answers.
    addresses = (_source(width, R), _target(width, R + words))
    ports = (nft.payload(TRANSPORT, 0, 2, R + 2 * words + 1), nft.payload(TRANSPORT, 2, 2, R + 2 * words + 2))
    without = (nft.immediate(bytes(4), R + 2 * words + 1), nft.immediate(bytes(4), R + 2 * words + 2))
    kind = nft.meta(nft.META_L4PROTO, R + 2 * words)
    for tail in (ports, without):
        rules.append((*addresses, kind, *tail, nft.lookup(names["answers"]), nft.accept()))
    # 4. New: the one that begins it, then the other.
    rules.append((_source(width), nft.lookup(names["shutout"]), nft.jump(names["out"])))
    rules.append((_target(width), nft.lookup(names["shutin"]), nft.jump(names["in"])))
    # 5. Allowed: what will answer it, ICMP's word on it included.
    back = (_target(width, R), _source(width, R + words))
    swapped = (nft.payload(TRANSPORT, 2, 2, R + 2 * words + 1), nft.payload(TRANSPORT, 0, 2, R + 2 * words + 2))
    keep = nft.remember(names["answers"], REPLY_MS)
    for number in (_UDP, _SCTP):
        rules.append((*_protocol(number), *back, kind, *swapped, keep))
    rules.append((*back, nft.immediate(bytes((icmp, 0, 0, 0)), R + 2 * words), *without, keep))
    others = (*_protocol(_UDP, nft.NE), nft.compare(bytes((_SCTP,)), nft.NE))
    rules.append((*others, *back, kind, *without, keep))
    return rules


def _members(family: int, width: int, names: dict[str, str], judgement: Judgement) -> list[Message]:
    messages = []
    for key, wanted in (("shutout", judgement.closed_out), ("shutin", judgement.closed_in)):
        found = [Element(one) for one in sorted(wanted) if len(one) == width]
        messages += _added(family, names[key], found)
    for key, boxes in (("openout", judgement.boxes_out), ("openin", judgement.boxes_in)):
        messages += _added(family, names[key], [_range(one) for one in boxes if len(one.own) == width])
    return messages


def _added(family: int, name: str, found: list[Element]) -> list[Message]:
    """In parts: a netlink attribute has 64 KiB."""
    return [nft.add_elements(family, TABLE, name, found[at : at + 400]) for at in range(0, len(found), 400)]


def _range(box: Box) -> Element:
    width = len(box.own)

    def edge(at: int) -> bytes:
        peer = box.peers[at].to_bytes(width, "big")
        return box.own + peer + struct.pack(">B3xH2x", box.protocols[at], box.ports[at])

    return Element(edge(0), last=edge(1))


def _maps(network: str, judgement: Judgement | None, sock: Netlink) -> list[Message]:
    """Who is sent to this network's chains, instead of those who were."""
    messages: list[Message] = []
    out, into = (judgement.closed_out, judgement.closed_in) if judgement is not None else (frozenset(), frozenset())
    wanted = {"policyout": ("out", out), "policyin": ("in", into), "judged": ("judge", out | into)}
    for family, name in MAPS:
        key, addresses = wanted[name]
        for width in (4, 16):
            chain = _names(network, width)[key].encode()
            there = {one for one, data in nft.elements(sock, family, TABLE, _sized(name, width)) if data == chain}
            now = {one for one in addresses if len(one) == width}
            gone = [Element(one) for one in sorted(there - now)]
            if gone:
                messages.append(nft.delete_elements(family, TABLE, _sized(name, width), gone))
            come = [Element(one, chain) for one in sorted(now - there)]
            if come:
                messages.append(nft.add_elements(family, TABLE, _sized(name, width), come, verdicts=True))
    return messages


def clear(network: str, sock: Netlink) -> list[Message]:
    """Away with a network's chains and sets, which are there. Raises OSError."""
    messages = _maps(network, None, sock)
    for family in (INET, BRIDGE):
        for width in (4, 16):
            names = _names(network, width)
            chains = ["judge", "out", "in"] if family == BRIDGE else ["out", "in"]
            messages += [nft.flush_chain(family, TABLE, names[key]) for key in chains]
            messages += [nft.delete_chain(family, TABLE, names[key]) for key in chains]
            sets = ["openout", "openin", "shutout", "shutin", *(["answers"] if family == BRIDGE else [])]
            messages += [nft.delete_set(family, TABLE, names[key]) for key in sets]
    return messages


def is_there(network: str, sock: Netlink) -> bool:
    """Whether `clear` has something to do. Raises OSError."""
    return nft.chain_exists(sock, INET, TABLE, _names(network, 4)["in"])
