"""What the outer namespace has beside bridges: it forwards, and what answers a client goes back by the helper.

Holds: `prepare`, done once, inside it. Does not hold: the tables of containers (`network/firewall.py`).

A published port's connection is accepted in the host's namespace and made again in the outer one from the *client's*
address (IP_TRANSPARENT), so that the container sees who it is. Its answers come to an address that is not here: they
have the connection's mark, and a packet with that mark is looked up in a table in which every address is ours.
"""

from __future__ import annotations

import struct

from atoll.linux import nftables as nft
from atoll.linux import rtnetlink
from atoll.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink
from atoll.linux.nftables import INET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.linux.netlink import Message

TABLE = "atoll-back"
OUTGOING, RETURNING = 0x41746F6C, 0x41746F6D
"""Marks: what the helper sends for a client, and what comes back for it."""
_ROUTES = 100
_MANGLE = -150
_SYSCTLS = (
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
)


def back() -> list[Message]:
    """The table by which answers come back."""
    outgoing, returning = struct.pack("=I", OUTGOING), struct.pack("=I", RETURNING)
    return [
        nft.add_table(INET, TABLE),
        nft.add_chain(INET, TABLE, "sent", kind="filter", hook=nft.OUTPUT, priority=_MANGLE),
        nft.add_chain(INET, TABLE, "answered", kind="filter", hook=nft.PREROUTING, priority=_MANGLE),
        nft.add_rule(
            INET, TABLE, "sent", nft.meta(nft.META_MARK), nft.compare(outgoing), nft.set_ct(nft.CT_MARK)
        ),
        nft.add_rule(
            INET,
            TABLE,
            "answered",
            nft.ct(nft.CT_MARK),
            nft.compare(outgoing),
            nft.immediate(returning),
            nft.set_meta(nft.META_MARK),
        ),
    ]  # fmt: skip


def prepare() -> None:
    """In a process inside: loopback up, forwarding, the way back. Raises OSError."""
    for name, value in _SYSCTLS:
        _write(name, value)
    route, filters = Netlink(NETLINK_ROUTE), Netlink(NETLINK_NETFILTER)
    try:
        messages = [rtnetlink.set_up(1)]
        for family in (2, 10):
            messages += [rtnetlink.new_rule(RETURNING, _ROUTES, family), rtnetlink.new_local_route(_ROUTES, family)]
        route.send(messages)
        nft.commit(filters, back())
    finally:
        route.close()
        filters.close()


def _write(name: str, value: str) -> None:
    try:
        with open(f"/proc/sys/{name}", "wb", buffering=0) as file:
            file.write(value.encode())
    except FileNotFoundError:  # a kernel without IPv6
        pass
