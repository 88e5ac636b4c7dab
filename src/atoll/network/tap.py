"""A virtual machine in a container's place: what the interfaces of a network namespace are given goes to taps.

Holds: `take`, `take_all`, `GuestLink` (what the guest is to configure) and `told`. Does not hold: bridges, names,
ports, egress, rates, filters against spoofing: the machine is attached exactly as a container is, by the same veth
(or macvlan, or whatever a plug-in made), and only then are its frames carried on. Start reading at `take`.

    host's side of the veth ═ eth0 ──fwd── tapeth0 ═ descriptor ── VMM ── virtio-net with eth0's MAC
                              (addresses stay on it, and hear nothing: frames are taken before the stack)

The guest has eth0's MAC and addresses, and IPv6's link-local address made of that MAC (RFC 4291), or it is not heard.
"""

from __future__ import annotations

import os
import struct

from atoll.base import errors
from atoll.base.value import Value
from atoll.linux import netns, rtnetlink, tun
from atoll.linux import nftables as nft
from atoll.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE
from atoll.linux.nftables import NETDEV
from atoll.network import addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.linux.netlink import Message, Netlink

TABLE = "atoll"
PREFIX = "tap"


class Route(Value):
    """Beyond what an address brings: `to` b"" is the default; `gateway` None: the neighbours themselves are there."""

    to: bytes
    prefix: int
    gateway: bytes | None


class GuestLink(Value):
    """An interface of the guest: `name` inside, and how it is to be configured. Addresses are packed, with their
    prefixes. Names are asked for at what /etc/resolv.conf of the bundle says, as in a container."""

    name: str
    mac: bytes
    mtu: int
    addresses: tuple[tuple[bytes, int], ...] = ()
    routes: tuple[Route, ...] = ()

    @property
    def mac_text(self) -> str:
        """As VMMs take it."""
        return addresses.show_mac(self.mac)

    @property
    def addresses_text(self) -> tuple[str, ...]:
        """`10.83.0.2/16`, as ip(8) takes them."""
        return tuple([f"{addresses.show(address)}/{prefix}" for address, prefix in self.addresses])

    @property
    def gateways(self) -> tuple[str, ...]:
        """Of the default routes, one a family at most."""
        return tuple([addresses.show(one.gateway) for one in self.routes if not one.to and one.gateway])


def told(link: GuestLink) -> dict[str, Any]:
    """An interface as a guest is told of it (`guest/setup.py`)."""
    return {
        "name": link.name,
        "mac": link.mac.hex(),
        "mtu": link.mtu,
        "addresses": [[address.hex(), prefix] for address, prefix in link.addresses],
        "routes": [[one.to.hex(), one.prefix, one.gateway.hex() if one.gateway else ""] for one in link.routes],
    }


class Tap:
    """An interface taken over: what the guest is told, and the descriptor, which is the caller's to close. Once every
    copy of it is closed the interface is the namespace's own again, as `take` found it."""

    def __init__(self, link: GuestLink, fd: int) -> None:
        self.link, self.fd = link, fd

    def close(self) -> None:
        """Close the descriptor; twice is fine."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def take_all(ns: int, *, vnet_header: bool = True) -> list[Tap]:
    """Every interface of the network namespace `ns` (a descriptor) but its loopback, in their order: none for a
    container without network. Raises AtollError; then none is taken."""
    taken: list[Tap] = []
    try:
        for link in guest_links(ns):
            taken.append(take(ns, link, vnet_header=vnet_header))
    except BaseException:
        for one in taken:
            one.close()
        raise
    return taken


def guest_links(ns: int) -> list[GuestLink]:
    """The interfaces that can be taken, as a guest is to have them. Raises AtollError."""
    try:
        (route,) = netns.sockets_in(ns, (NETLINK_ROUTE,))
        try:
            return _read(route)
        finally:
            route.close()
    except OSError as error:
        raise errors.from_os_error(error, "look at the container's interfaces") from error


def _read(route: Netlink) -> list[GuestLink]:
    known = rtnetlink.addresses(route)
    routes = [*rtnetlink.routes(route), *rtnetlink.routes(route, 10)]
    found = []
    for link in rtnetlink.links(route):
        if link.name == "lo" or link.kind == "tun" or len(link.mac) != 6:
            continue
        own = [(a, prefix) for index, a, prefix in known if index == link.index and a[:2] != b"\xfe\x80"]
        nets = [str(addresses.network_of(address, prefix)) for address, prefix in own]
        ways = [
            Route(to=to, prefix=prefix, gateway=gateway)
            for to, prefix, index, gateway in routes
            if index == link.index and (gateway or (to and f"{addresses.show(to)}/{prefix}" not in nets))
            if to[:2] != b"\xfe\x80"
        ]
        found.append(GuestLink(name=link.name, mac=link.mac, mtu=link.mtu, addresses=tuple(own), routes=tuple(ways)))
    return found


def tap_name(link: str) -> str:
    """The tap's name beside `link`."""
    return f"{PREFIX}{link}"[:15]


def take(ns: int, link: GuestLink, *, vnet_header: bool = True) -> Tap:
    """Carry an interface's frames to a new tap. Raises AtollError: Conflict while another process has it."""
    name = tap_name(link.name)
    try:
        fd = tun.open_tap(ns, name, vnet_header=vnet_header)
    except OSError as error:
        raise errors.from_os_error(error, f"open {tun.DEVICE} for {link.name}", hint=_HINT) from error
    try:
        route, filters = netns.sockets_in(ns, (NETLINK_ROUTE, NETLINK_NETFILTER))
        try:
            # 1. As long packets as the interface beside it; up, so that frames that come are kept for the guest.
            tap, own = rtnetlink.link(route, name), rtnetlink.link(route, link.name)
            if tap is None or own is None:
                raise errors.FailedPrecondition(f"{link.name} is gone from the container's network namespace")
            route.send([rtnetlink.set_mtu(tap.index, link.mtu), rtnetlink.set_up(tap.index)])
            # 2. Both ways at once. A run before this one may have left its rules, for a tap that has gone.
            there = _carry(link.name, name, tap.index)
            back = _carry(name, link.name, own.index)
            nft.commit(filters, [nft.add_table(NETDEV, TABLE), *there, *back])
        finally:
            route.close()
            filters.close()
    except OSError as error:
        os.close(fd)
        raise errors.from_os_error(error, f"carry {link.name} to a virtual machine") from error
    except BaseException:
        os.close(fd)
        raise
    return Tap(link, fd)


_HINT = "the kernel needs tun and nft_fwd_netdev; an ordinary user may open /dev/net/tun where its mode is 0666"


def _carry(source: str, target: str, index: int) -> list[Message]:
    """All that comes in by one goes out by the other."""
    chain = f"carry-{source}"
    return [
        nft.add_chain(NETDEV, TABLE, chain, kind="filter", hook=nft.INGRESS_NETDEV, device=source),
        nft.flush_chain(NETDEV, TABLE, chain),
        nft.add_rule(NETDEV, TABLE, chain, nft.immediate(struct.pack("=I", index)), nft.forward_to(),
                     comment=f"to {target}"),
    ]  # fmt: skip
