"""A way out without any program: what is sent outwards by TCP is accepted here and connected again from the host.

Holds: `Forwarder`. Does not hold: published ports (`helper/relay.py`). A further namespace stands behind the outer
one at the other end of its link; there every TCP connection, wherever it goes, is redirected to a socket of ours. All
else is refused there, so that programs hear it at once. Names are the helper's affair.

    outer: up0 10.0.2.100, fd00::100 ═══ behind: 10.0.2.2, fd00::2, redirect → our listener, in the host's process
"""

from __future__ import annotations

import os
import struct
from _socket import AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket

from atoll.base import errors
from atoll.linux import netns, process, rtnetlink
from atoll.linux import nftables as nft
from atoll.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink
from atoll.linux.nftables import INET, R
from atoll.network import addresses
from atoll.network.helper import relay
from atoll.network.helper.loop import READ, Loop
from atoll.network.helper.proxy import original_target
from atoll.network.rootless import uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.linux.netlink import Message

TABLE = "atoll-out"
_BEHIND = "down0"
_NEAR = (addresses.parse("10.0.2.100"), addresses.parse("fd00::100"))
_FAR = (addresses.parse("10.0.2.2"), addresses.parse("fd00::2"))
_PREFIX = (24, 64)
_CLOSED = tuple(
    [
        addresses.parse_subnet(one)
        for one in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8")
    ]
)
"""Where nobody is connected to: the host's loopback, what clouds keep credentials at, links' own addresses."""


class Forwarder:
    """The far end of the link; `route` and `ns` are the outer namespace's. Raises AtollError, OSError."""

    def __init__(self, loop: Loop, ns: int, route: Netlink) -> None:
        self.loop = loop
        made = netns.run_in_child(lambda: _make_behind(ns))
        self.ns, listeners, inner = made[0], made[1:3], Netlink(NETLINK_ROUTE, made[3])
        self.listeners = [
            socket(family, SOCK_STREAM, 0, fd) for family, fd in zip((AF_INET, AF_INET6), listeners, strict=True)
        ]
        try:
            route.send([rtnetlink.new_veth(uplink.LINK, master=0, peer=_BEHIND, peer_ns=self.ns, mtu=uplink.MTU)])
            _address(inner, _BEHIND, _FAR, door=None)
            _address(route, uplink.LINK, _NEAR, door=_FAR)
        finally:
            inner.close()
        for one in self.listeners:
            loop.watch(one.fileno(), READ, lambda events, one=one: self._accept(one))  # type: ignore[misc]

    def _accept(self, listener: socket) -> None:
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        here = socket(listener.family, SOCK_STREAM, 0, fd)
        here.setblocking(False)
        try:
            target, port = original_target(here)
            if is_closed(target):
                raise OSError(111, "closed")
            there = relay.connect(target, port)
        except OSError:
            relay.reset(here)
            return
        relay.Splice(self.loop, here, there)


def is_closed(target: bytes) -> bool:
    """Whether nobody is connected to this address, whatever it is written as."""
    four = addresses.mapped(target)
    return any(one.holds(target) or (four is not None and one.holds(four)) for one in _CLOSED)


def _make_behind(ns: int) -> list[int]:
    """In a child: a namespace behind, owned as the outer one is; descriptors of it, of two listeners, of a socket."""
    netns.enter(ns)
    process.unshare(process.CLONE_NEWNET)
    route, filters = Netlink(NETLINK_ROUTE), Netlink(NETLINK_NETFILTER)
    route.send([rtnetlink.set_up(1)])
    listeners = []
    port = 0
    for family, address in ((AF_INET, "0.0.0.0"), (AF_INET6, "::")):
        one = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        if family == AF_INET6:
            one.setsockopt(41, 26, 1)  # IPPROTO_IPV6, IPV6_V6ONLY
        one.bind((address, port))
        one.listen(1024)
        port = one.getsockname()[1]
        listeners.append(one.detach())
    nft.commit(filters, rules(port))
    return [os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC), *listeners, route.detach()]


def rules(port: int) -> list[Message]:
    """All TCP to our port; the rest refused."""
    tcp = (nft.meta(nft.META_L4PROTO), nft.compare(b"\6"))
    by_link = (nft.meta(nft.META_IIFNAME), nft.compare(_BEHIND.encode() + b"\0"))
    other = (nft.meta(nft.META_L4PROTO), nft.compare(b"\6", nft.NE))
    neighbours = (nft.meta(nft.META_L4PROTO), nft.compare(b"\x3a"), nft.accept())
    return [
        nft.add_table(INET, TABLE),
        nft.add_chain(INET, TABLE, "in", kind="nat", hook=nft.PREROUTING, priority=-100),
        nft.add_chain(INET, TABLE, "rest", kind="filter", hook=nft.PREROUTING, priority=-50),
        nft.add_rule(INET, TABLE, "in", *by_link, *tcp, nft.immediate(struct.pack(">H", port)), nft.redirect(R)),
        nft.add_rule(INET, TABLE, "rest", *by_link, *neighbours),
        nft.add_rule(INET, TABLE, "rest", *by_link, *other, nft.reject_unreachable(3)),
    ]


def _address(sock: Netlink, name: str, own: tuple[bytes, ...], *, door: tuple[bytes, ...] | None) -> None:
    found = rtnetlink.link(sock, name)
    if found is None:
        raise errors.Internal(f"{name} was made and is not there")
    messages = [rtnetlink.set_up(found.index)]
    messages += [rtnetlink.new_address(found.index, one, n) for one, n in zip(own, _PREFIX, strict=True)]
    messages += [rtnetlink.new_route(found.index, one) for one in door or ()]
    sock.send(messages)
