"""nftables by nfnetlink: tables, chains, rules, sets, and what rules are made of (linux/netfilter/nf_tables.h).

Holds: messages for a batch, which the kernel carries out whole or not at all (`commit`), expressions as bytes, and
readers. Does not hold: which rules there are (`network/firewall.py`). Nothing here can flush: a table is only touched
by name. Registers are the 32-bit ones, 8 to 23; `R` is the first.
"""

from __future__ import annotations

import errno
import struct

from atoll.linux import netlink
from atoll.linux.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Netlink,
    attr,
    be32,
    be64,
    nested,
    text,
)

INET, IPV4, ARP, NETDEV, BRIDGE, IPV6 = 1, 2, 3, 5, 7, 10
FAMILIES = {INET: "inet", IPV4: "ip", NETDEV: "netdev", BRIDGE: "bridge", IPV6: "ip6"}
R = 8

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
INGRESS_NETDEV = 0
DROP, ACCEPT = 0, 1
_JUMP, _GOTO, _RETURN = -3, -4, -5

_SUBSYSTEM = 10 << 8
_BEGIN, _END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _DELCHAIN = range(6)
_NEWRULE, _GETRULE, _DELRULE, _NEWSET, _GETSET, _DELSET, _NEWELEM, _GETELEM, _DELELEM = range(6, 15)
_DESTROYELEM = 30
_LIST_ELEM = 1

SET_INTERVAL, SET_MAP, SET_TIMEOUT, SET_DYNAMIC, SET_CONCAT = 0x4, 0x8, 0x10, 0x20, 0x80
_INTERVAL_END = 1
# What `nft list` shows a value as; nothing to the kernel (nftables, include/datatype.h).
T_VERDICT, T_MARK, T_IP, T_IP6, T_ETHER, T_PROTO, T_PORT, T_IFNAME = 1, 19, 7, 8, 9, 12, 13, 41
_LENGTH = {T_MARK: 4, T_IP: 4, T_IP6: 16, T_ETHER: 6, T_PROTO: 1, T_PORT: 2, T_IFNAME: 16}

LINK, NETWORK, TRANSPORT = 0, 1, 2
EQ, NE, LT, LE, GT, GE = range(6)
META_PROTOCOL, META_MARK, META_IIFNAME, META_OIFNAME, META_NFPROTO, META_L4PROTO = 1, 3, 6, 7, 15, 16
META_PKTTYPE = 19
CT_STATE, CT_STATUS, CT_MARK = 0, 2, 3
INVALID, ESTABLISHED, RELATED, NEW = 1, 2, 4, 8
DST_NAT = 0x20


class Element:
    """One member of a set: `key`, with `data` in a map (a chain's name in a map of verdicts), `timeout` in
    milliseconds (0: stays), `end` for the upper bound of an interval (not in it). In a set of ranges of several
    fields `last` is the upper bound (in it) of each."""

    __slots__ = ("data", "end", "key", "last", "timeout")

    def __init__(
        self, key: bytes, data: bytes | None = None, *, timeout: int = 0, end: bool = False, last: bytes | None = None
    ) -> None:
        self.key, self.data, self.timeout, self.end, self.last = key, data, timeout, end, last


def _message(kind: int, family: int, flags: int, body: bytes, what: str, quiet: tuple[int, ...] = ()) -> Message:
    return Message(_SUBSYSTEM | kind, flags, struct.pack(">BBH", family, 0, 0) + body, what, quiet)


def _in_words(family: int, table: str) -> str:
    return f"{FAMILIES.get(family, family)} {table}"


# --- tables, chains, rules ------------------------------------------------------------------------------------------


def add_table(family: int, table: str) -> Message:
    """A table; one that is there is fine."""
    return _message(_NEWTABLE, family, NLM_F_CREATE, text(1, table), f"table {_in_words(family, table)}")


def delete_table(family: int, table: str) -> Message:
    """Away with the table and all that is in it."""
    return _message(_DELTABLE, family, 0, text(1, table), f"delete table {_in_words(family, table)}")


def add_chain(
    family: int,
    table: str,
    chain: str,
    *,
    kind: str = "",
    hook: int = 0,
    priority: int = 0,
    policy: int = ACCEPT,
    device: str = "",
) -> Message:
    """A chain; with `kind` (filter, nat, route) a base chain at `hook`. One that is there is fine."""
    body = text(1, table) + text(3, chain)
    if kind:
        at = be32(1, hook) + attr(2, struct.pack(">i", priority)) + (text(3, device) if device else b"")
        body += nested(4, at) + be32(5, policy) + text(7, kind)
    return _message(_NEWCHAIN, family, NLM_F_CREATE, body, f"chain {_in_words(family, table)} {chain}")


def delete_chain(family: int, table: str, chain: str) -> Message:
    """Away with a chain and its rules; nothing may jump to it."""
    return _message(
        _DELCHAIN, family, 0, text(1, table) + text(3, chain), f"delete chain {_in_words(family, table)} {chain}"
    )


def flush_chain(family: int, table: str, chain: str) -> Message:
    """Away with the rules of one chain (of ours)."""
    body = text(1, table) + text(2, chain)
    return _message(_DELRULE, family, 0, body, f"empty chain {_in_words(family, table)} {chain}")


def add_rule(
    family: int, table: str, chain: str, *expressions: bytes, comment: str = "", first: bool = False
) -> Message:
    """A rule at the end of a chain (`first`: at its beginning)."""
    body = text(1, table) + text(2, chain) + nested(4, *[attr(_LIST_ELEM | 0x8000, e) for e in expressions])
    if comment:
        words = comment.encode()[:126] + b"\0"
        body += attr(7, bytes((0, len(words))) + words)
    flags = NLM_F_CREATE | (0 if first else NLM_F_APPEND)
    what = f"rule {_in_words(family, table)} {chain}" + (f" ({comment})" if comment else "")
    return _message(_NEWRULE, family, flags, body, what)


# --- sets -----------------------------------------------------------------------------------------------------------


def _padded(length: int) -> int:
    return (length + 3) & ~3


def add_set(
    family: int,
    table: str,
    name: str,
    key: tuple[int, ...],
    *,
    data: tuple[int, ...] = (),
    flags: int = 0,
    number: int = 1,
    size: int = 0,
) -> Message:
    """A set of keys of these types (T_…), or with `data` a map. One that is there is fine. `number` is unlike that
    of the other new sets of a batch; `size` is how many members it may have (0: any)."""
    kind = length = 0
    for one in key:
        kind, length = kind << 6 | one, length + (_padded(_LENGTH[one]) if len(key) > 1 else _LENGTH[one])
    if len(key) > 1 and flags & SET_INTERVAL:
        flags |= SET_CONCAT
    body = text(1, table) + text(2, name)
    described = b""
    if len(key) > 1 and flags & SET_INTERVAL:
        fields = [nested(_LIST_ELEM, be32(1, _LENGTH[one])) for one in key]
        described = nested(9, nested(2, *fields))
    elif size:
        described = nested(9, be32(1, size))
    if data:
        flags |= SET_MAP
    body += be32(3, flags) + be32(4, kind) + be32(5, length)
    if data == (T_VERDICT,):
        body += be32(6, 0xFFFFFF00) + be32(7, 0)
    elif data:
        data_kind = data_length = 0
        for one in data:
            data_kind = data_kind << 6 | one
            data_length += _padded(_LENGTH[one]) if len(data) > 1 else _LENGTH[one]
        body += be32(6, data_kind) + be32(7, data_length)
    body += described + be32(10, number)
    if key in ((T_IFNAME,), (T_MARK,)):
        # How `nft list` is to read the key (libnftnl, NFTNL_UDATA_SET_KEYBYTEORDER): as this host has it.
        body += attr(13, b"\0\4" + struct.pack("=I", 1))
    return _message(_NEWSET, family, NLM_F_CREATE, body, f"set {_in_words(family, table)} {name}")


def _elements(table: str, name: str, elements: list[Element], *, verdicts: bool, keys_only: bool) -> bytes:
    members = []
    for one in elements:
        parts = [nested(1, attr(1, one.key))]
        if one.data is not None and not keys_only:
            if verdicts:
                chain = text(2, one.data.decode())
                parts.append(nested(2, nested(2, attr(1, struct.pack(">i", _JUMP)), chain)))
            else:
                parts.append(nested(2, attr(1, one.data)))
        if one.end:
            parts.append(be32(3, _INTERVAL_END))
        if one.timeout and not keys_only:
            parts.append(be64(4, one.timeout))
        if one.last is not None:
            parts.append(nested(10, attr(1, one.last)))
        members.append(nested(_LIST_ELEM, *parts))
    return text(1, table) + text(2, name) + nested(3, *members)


def add_elements(
    family: int, table: str, name: str, elements: list[Element], *, verdicts: bool = False, exclusive: bool = False
) -> Message:
    """Members for a set; those that are there with the same data are fine unless `exclusive`."""
    body = _elements(table, name, elements, verdicts=verdicts, keys_only=False)
    flags = NLM_F_CREATE | (NLM_F_EXCL if exclusive else 0)
    return _message(_NEWELEM, family, flags, body, f"{len(elements)} elements for {_in_words(family, table)} {name}")


def delete_elements(family: int, table: str, name: str, elements: list[Element]) -> Message:
    """Away with members; one that is not there fails the batch."""
    body = _elements(table, name, elements, verdicts=False, keys_only=True)
    return _message(_DELELEM, family, 0, body, f"delete {len(elements)} of {_in_words(family, table)} {name}")


def destroy_elements(family: int, table: str, name: str, elements: list[Element]) -> Message:
    """Away with members, there or not (Linux 6.3)."""
    body = _elements(table, name, elements, verdicts=False, keys_only=True)
    return _message(_DESTROYELEM, family, 0, body, f"delete {len(elements)} of {_in_words(family, table)} {name}")


def flush_set(family: int, table: str, name: str) -> Message:
    """Away with all members of one set (of ours)."""
    body = text(1, table) + text(2, name)
    return _message(_DELELEM, family, 0, body, f"empty {_in_words(family, table)} {name}", quiet=(errno.ENOENT,))


def delete_set(family: int, table: str, name: str) -> Message:
    """Away with a set; no rule may ask it."""
    return _message(_DELSET, family, 0, text(1, table) + text(2, name), f"delete {_in_words(family, table)} {name}")


# --- expressions ----------------------------------------------------------------------------------------------------


def _expression(name: str, *parts: bytes) -> bytes:
    return text(1, name) + nested(2, *parts)


def meta(key: int, register: int = R) -> bytes:
    """Load what is known of the packet beside its bytes."""
    return _expression("meta", be32(2, key), be32(1, register))


def ct(key: int, register: int = R) -> bytes:
    """Load what connection tracking knows."""
    return _expression("ct", be32(1, register), be32(2, key))


def set_meta(key: int, register: int = R) -> bytes:
    """What the register holds becomes a property of the packet (its mark)."""
    return _expression("meta", be32(2, key), be32(3, register))


def set_ct(key: int, register: int = R) -> bytes:
    """What the register holds becomes a property of the connection (its mark)."""
    return _expression("ct", be32(2, key), be32(4, register))


def payload(base: int, offset: int, length: int, register: int = R) -> bytes:
    """Load bytes of the packet."""
    return _expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, length))


def compare(data: bytes, operator: int = EQ, register: int = R) -> bytes:
    """Go on only where the register compares so."""
    return _expression("cmp", be32(1, register), be32(2, operator), nested(3, attr(1, data)))


def masked(mask: bytes, register: int = R, *, xor: bytes | None = None) -> bytes:
    """The register's bits under a mask."""
    return _expression(
        "bitwise",
        be32(1, register),
        be32(2, register),
        be32(3, len(mask)),
        nested(4, attr(1, mask)),
        nested(5, attr(1, xor or bytes(len(mask)))),
    )


def lookup(name: str, *, register: int = R, into: int | None = None, absent: bool = False) -> bytes:
    """Go on only where the register is in the set (`absent`: is not); of a map its value comes `into` a register."""
    parts = [text(1, name), be32(2, register)]
    if into is not None:
        parts.append(be32(3, into))
    if absent:
        parts.append(be32(5, 1))
    return _expression("lookup", *parts)


def remember(name: str, timeout: int, register: int = R) -> bytes:
    """Put the register's value into a set with SET_TIMEOUT and SET_DYNAMIC for so many milliseconds, anew where it is
    there; a full set takes no more, and the rule ends here."""
    return _expression("dynset", text(1, name), be32(3, 1), be32(4, register), be64(6, timeout))


def count_over(name: str, connections: int, register: int = R) -> bytes:
    """Go on only for a connection by which the register's value, kept as a member of a set with SET_DYNAMIC, has more
    than so many that live (net/netfilter/nft_connlimit.c); closed ones that linger are not counted."""
    limit = text(1, "connlimit") + nested(2, be32(1, connections), be32(2, 1))
    return _expression("dynset", text(1, name), be32(3, 0), be32(4, register), nested(7, limit))


def one_in(number: int, register: int = R) -> bytes:
    """A number below this one, by chance (net/netfilter/nft_numgen.c); in the host's byte order."""
    return _expression("numgen", be32(1, register), be32(2, number), be32(3, 1))


def header6(kind: int, offset: int, length: int, register: int = R) -> bytes:
    """Load bytes of an extension header of IPv6; go on only where there is one of that kind."""
    return _expression("exthdr", be32(1, register), attr(2, bytes((kind,))), be32(3, offset), be32(4, length))


def immediate(data: bytes, register: int = R) -> bytes:
    """A constant into a register."""
    return _expression("immediate", be32(1, register), nested(2, attr(1, data)))


def _verdict(code: int, chain: str = "") -> bytes:
    words = attr(1, struct.pack(">i", code)) + (text(2, chain) if chain else b"")
    return _expression("immediate", be32(1, 0), nested(2, nested(2, words)))


def accept() -> bytes:
    """This hook lets it pass (others may not)."""
    return _verdict(ACCEPT)


def drop() -> bytes:
    """Away with it, without a word."""
    return _verdict(DROP)


def jump(chain: str) -> bytes:
    """On in another chain, and back."""
    return _verdict(_JUMP, chain)


def goto(chain: str) -> bytes:
    """On in another chain, for good."""
    return _verdict(_GOTO, chain)


def back() -> bytes:
    """Back to the chain that jumped here."""
    return _verdict(_RETURN)


def reject_reset() -> bytes:
    """Refuse with a TCP RST."""
    return _expression("reject", be32(1, 1), attr(2, b"\0"))


def reject_unreachable(code: int = 1) -> bytes:
    """Refuse with ICMP: 1 port unreachable, 3 administratively prohibited; in whichever IP it is."""
    return _expression("reject", be32(1, 2), attr(2, bytes((code,))))


def masquerade() -> bytes:
    """The source becomes an address of the link by which it leaves."""
    return _expression("masq")


def dnat(family: int, address: int, port: int | None = None) -> bytes:
    """Another destination: registers with the address and the port."""
    parts = [be32(1, 1), be32(2, family), be32(3, address)]
    if port is not None:
        parts.append(be32(5, port))
    return _expression("nat", *parts)


def redirect(port: int) -> bytes:
    """To this host itself, at the port in a register."""
    return _expression("redir", be32(1, port))


def fib_type(register: int = R) -> bytes:
    """The kind of the destination address (RTN_LOCAL is 2)."""
    return _expression("fib", be32(1, register), be32(2, 3), be32(3, 2))


def forward_to(register: int = R) -> bytes:
    """Out by the interface whose index is in the register, in place of where it was going (family netdev)."""
    return _expression("fwd", be32(1, register))


def over_rate(bytes_a_second: int, burst: int) -> bytes:
    """Go on only for what exceeds the rate."""
    return _expression("limit", be64(1, bytes_a_second), be64(2, 1), be32(3, burst), be32(4, 1), be32(5, 1))


def counter() -> bytes:
    """Count packets and bytes."""
    return _expression("counter", be64(1, 0), be64(2, 0))


def log(group: int, prefix: str) -> bytes:
    """A copy of the packet's head for whoever listens on the nflog group."""
    # One packet is told at once, not a hundred or a second later.
    return _expression(
        "log", attr(1, struct.pack(">H", group)), text(2, prefix), be32(3, 128), attr(4, struct.pack(">H", 1))
    )


# --- the socket -----------------------------------------------------------------------------------------------------


def commit(sock: Netlink, messages: list[Message]) -> None:
    """Carry all out, or none. Raises OSError naming the first that is refused."""
    if not messages:
        return
    head = struct.pack(">BBH", 0, 0, 10)
    begin = struct.pack("=IHHII", 20, _BEGIN, netlink.NLM_F_REQUEST, 0, 0) + head
    end = struct.pack("=IHHII", 20, _END, netlink.NLM_F_REQUEST, 0, 0) + head
    sock.transaction(begin, messages, end)


def chain_exists(sock: Netlink, family: int, table: str, chain: str | None) -> bool:
    """Whether a chain is there (None: the table). Raises OSError."""
    kind = _GETTABLE if chain is None else _GETCHAIN
    body = text(1, table) + (text(3, chain) if chain is not None else b"")
    try:
        sock.send([_message(kind, family, 0, body, "look for a table")])
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def elements(sock: Netlink, family: int, table: str, name: str) -> list[tuple[bytes, bytes]]:
    """(key, data) of a set's members: b"" where it is no map, a chain's name in one of verdicts. A set that is not
    there has none. Raises OSError."""
    found = []
    body = text(1, table) + text(2, name)
    try:
        answers = sock.dump(_message(_GETELEM, family, 0, body, f"list {name}"))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return []
        raise
    for answer in answers:
        listed = netlink.attributes(answer[4:]).get(3, b"")
        for _, member in netlink.each_attribute(listed):
            known = netlink.attributes(member)
            key = netlink.attributes(known.get(1, b"")).get(1, b"")
            data = netlink.attributes(known.get(2, b""))
            verdict = netlink.attributes(data.get(2, b"")).get(2, b"").rstrip(b"\0")
            found.append((key, data.get(1, verdict)))
    return found


def rules(sock: Netlink, family: int, table: str, chain: str) -> list[tuple[int, str]]:
    """(handle, comment) of a chain's rules in their order. Raises OSError (ENOENT)."""
    found = []
    body = text(1, table) + text(2, chain)
    for answer in sock.dump(_message(_GETRULE, family, 0, body, f"list {chain}")):
        known = netlink.attributes(answer[4:])
        data = known.get(7, b"")
        words = data[2 : 2 + data[1]].rstrip(b"\0").decode(errors="replace") if len(data) > 2 and not data[0] else ""
        found.append((int.from_bytes(known.get(3, b""), "big"), words))
    return found


def tables(sock: Netlink) -> list[tuple[int, str]]:
    """(family, name) of every table. Raises OSError."""
    found = []
    for answer in sock.dump(_message(_GETTABLE, 0, 0, b"", "list tables")):
        name = netlink.attributes(answer[4:]).get(1, b"").rstrip(b"\0").decode(errors="replace")
        found.append((answer[0], name))
    return found
