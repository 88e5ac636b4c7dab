"""Links, addresses, routes, neighbours: rtnetlink(7), linux/if_link.h.

Holds: messages as values (`new_veth`, `new_address`, …) and readers of what is there. Does not hold: which links a
network has (`network/`), queues (`tc.py`). Addresses are packed bytes (4 or 16), MACs 6 bytes; a name is at most 15.
"""

from __future__ import annotations

import errno
import struct
from _socket import AF_INET, AF_INET6, inet_ntop

from atoll.linux import netlink
from atoll.linux.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Message, Netlink, attr, nested, text, u8, u32

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE = 32


IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_PROTINFO, _IFLA_LINKINFO, _IFLA_IFALIAS = 12, 18, 20
_IFLA_STATS64, _IFLA_NET_NS_FD = 23, 28
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
_BR_FORWARD_DELAY, _BR_STP_STATE, _BR_MCAST_SNOOPING = 1, 5, 23
_BRPORT_MODE, _BRPORT_ISOLATED = 4, 33
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_MAIN_TABLE = 254
_PROTO_BOOT = 3
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_SCOPE_HOST = 254
_UNICAST, _LOCAL = 1, 2
_RTA_TABLE = 15
_FRA_FWMARK, _FRA_TABLE, _TO_TABLE = 10, 15, 1
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}


class Link:
    """An interface as the kernel tells it."""

    __slots__ = ("alias", "flags", "index", "kind", "mac", "master", "mtu", "name", "stats")
    index: int
    flags: int

    def __init__(self, payload: bytes) -> None:
        self.index, self.flags = struct.unpack_from("=iI", payload, 4)
        found = netlink.attributes(payload[16:])
        self.name = _text(found.get(_IFLA_IFNAME, b""))
        self.alias = _text(found.get(_IFLA_IFALIAS, b""))
        self.mac = found.get(_IFLA_ADDRESS, b"")
        self.mtu = _number(found.get(_IFLA_MTU))
        self.master = _number(found.get(_IFLA_MASTER))
        self.kind = _text(netlink.attributes(found.get(_IFLA_LINKINFO, b"")).get(_INFO_KIND, b""))
        self.stats = found.get(_IFLA_STATS64, b"")

    @property
    def up(self) -> bool:
        """Whether IFF_UP is set."""
        return bool(self.flags & IFF_UP)

    def counters(self) -> tuple[int, int, int, int]:
        """(received bytes, packets, sent bytes, packets) as struct rtnl_link_stats64 has them; zeros if unknown."""
        if len(self.stats) < 32:
            return 0, 0, 0, 0
        rx_packets, tx_packets, rx_bytes, tx_bytes = struct.unpack_from("=QQQQ", self.stats)
        return rx_bytes, rx_packets, tx_bytes, tx_packets


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")


def _number(data: bytes | None) -> int:
    return int.from_bytes(data, "little") if data else 0


def _ifinfo(*, index: int = 0, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 0, index, flags, change)


def _named(name: str) -> bytes:
    if not 0 < len(name.encode()) < 16 or "/" in name or any(c.isspace() for c in name):
        raise OSError(errno.EINVAL, "no name of an interface", name)
    return text(_IFLA_IFNAME, name)


def _new(payload: bytes, what: str) -> Message:
    return Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, what)


def _common(name: str, mac: bytes | None, mtu: int) -> bytes:
    return _named(name) + (attr(_IFLA_ADDRESS, mac) if mac else b"") + (u32(_IFLA_MTU, mtu) if mtu else b"")


def new_bridge(name: str, *, mac: bytes, mtu: int = 0) -> Message:
    """A bridge, down, that forwards at once (no spanning tree) and floods multicast, neighbour discovery included. An
    address of its own keeps it from taking that of each new port."""
    data = nested(_INFO_DATA, u32(_BR_FORWARD_DELAY, 0), u32(_BR_STP_STATE, 0), u8(_BR_MCAST_SNOOPING, 0))
    info = nested(_IFLA_LINKINFO, text(_INFO_KIND, "bridge"), data)
    return _new(_ifinfo() + _common(name, mac, mtu) + info, f"bridge {name}")


def new_veth(
    name: str,
    *,
    master: int,
    peer: str,
    peer_ns: int,
    peer_mac: bytes | None = None,
    mtu: int = 0,
) -> Message:
    """A pair: `name` here, up, in the bridge with index `master` (0: none), `peer`, down, in the
    namespace of the descriptor `peer_ns`. One message: no half made pair."""
    peer_payload = (
        _ifinfo()  # a pair that is not complete yet cannot be up
        + _common(peer, peer_mac, mtu)
        + u32(_IFLA_NET_NS_FD, peer_ns)
    )
    data = nested(_INFO_DATA, attr(_VETH_INFO_PEER, peer_payload))
    info = nested(_IFLA_LINKINFO, text(_INFO_KIND, "veth"), data)
    payload = (
        _ifinfo(flags=IFF_UP, change=IFF_UP)
        + _common(name, None, mtu)
        + (u32(_IFLA_MASTER, master) if master else b"")
        + info
    )
    return _new(payload, f"veth {name} - {peer}")


def new_macvlan(name: str, *, parent: int, mode: str, ns: int, mac: bytes | None = None, mtu: int = 0) -> Message:
    """A macvlan on the link with index `parent`, in the namespace of the descriptor `ns`, down."""
    info = nested(_IFLA_LINKINFO, text(_INFO_KIND, "macvlan"), nested(_INFO_DATA, u32(1, MACVLAN_MODES[mode])))
    payload = _ifinfo() + _common(name, mac, mtu) + u32(_IFLA_LINK, parent) + u32(_IFLA_NET_NS_FD, ns) + info
    return _new(payload, f"macvlan {name}")


def new_vlan(name: str, *, parent: int, tag: int) -> Message:
    """An 802.1Q interface on `parent`, up (macvlan's `parent=eth0.10`)."""
    info = nested(_IFLA_LINKINFO, text(_INFO_KIND, "vlan"), nested(_INFO_DATA, attr(1, struct.pack("=H", tag))))
    payload = _ifinfo(flags=IFF_UP, change=IFF_UP) + _named(name) + u32(_IFLA_LINK, parent) + info
    return _new(payload, f"vlan {name}")


def delete_link(name: str) -> Message:
    """Remove an interface (with a veth also its peer); one that is gone is fine."""
    return Message(RTM_DELLINK, 0, _ifinfo() + _named(name), f"delete {name}", quiet=(errno.ENODEV,))


def set_up(index: int) -> Message:
    """IFF_UP."""
    return Message(RTM_NEWLINK, 0, _ifinfo(index=index, flags=IFF_UP, change=IFF_UP), f"link {index} up")


def set_down(index: int) -> Message:
    """`ip link set down`: its routes go."""
    return Message(RTM_NEWLINK, 0, _ifinfo(index=index, change=IFF_UP), f"take link {index} down")


def set_mtu(index: int, mtu: int) -> Message:
    """The longest packet that goes by the link."""
    return Message(RTM_NEWLINK, 0, _ifinfo(index=index) + u32(_IFLA_MTU, mtu), f"mtu of {index}: {mtu}")


def rename(index: int, name: str) -> Message:
    """Another name for a link that is down."""
    return Message(RTM_NEWLINK, 0, _ifinfo(index=index) + _named(name), f"link {index} is {name}")


def set_port(index: int, *, hairpin: bool = False, isolated: bool = False) -> Message:
    """A bridge port's options: `isolated` ports reach no other isolated port."""
    options = nested(_IFLA_PROTINFO, u8(_BRPORT_MODE, hairpin), u8(_BRPORT_ISOLATED, isolated))
    return Message(RTM_NEWLINK, 0, _ifinfo(index=index, family=7) + options, f"port {index}")


def new_address(
    index: int, address: bytes, prefix: int, *, broadcast: bytes | None = None, exclusive: bool = True
) -> Message:
    """An address on a link. IPv6 ones are usable at once: no other host can have what the store gave to this one."""
    family = AF_INET if len(address) == 4 else AF_INET6
    payload = struct.pack("=BBBBi", family, prefix, _IFA_F_NODAD, 0, index)
    payload += attr(_IFA_LOCAL, address) + attr(_IFA_ADDRESS, address)
    if broadcast is not None:
        payload += attr(_IFA_BROADCAST, broadcast)
    if family == AF_INET6:
        payload += u32(_IFA_FLAGS, _IFA_F_NODAD)
    flags = NLM_F_CREATE | (NLM_F_EXCL if exclusive else NLM_F_REPLACE)
    return Message(RTM_NEWADDR, flags, payload, f"address {inet_ntop(family, address)}/{prefix} on {index}")


def delete_address(index: int, address: bytes, prefix: int) -> Message:
    """An address of a link goes; one that is not there is fine."""
    family = AF_INET if len(address) == 4 else AF_INET6
    payload = struct.pack("=BBBBi", family, prefix, 0, 0, index) + attr(_IFA_LOCAL, address)
    what = f"remove address {inet_ntop(family, address)}/{prefix} of {index}"
    return Message(RTM_DELADDR, 0, payload, what, quiet=(errno.EADDRNOTAVAIL,))


def new_route(
    index: int, gateway: bytes | None, *, to: bytes = b"", prefix: int = 0, family: int = AF_INET, metric: int = 0
) -> Message:
    """A route by a link, `to` empty for the default one; without a gateway the neighbours themselves."""
    family = (AF_INET if len(gateway) == 4 else AF_INET6) if gateway else family
    scope = _SCOPE_UNIVERSE if gateway else _SCOPE_LINK
    payload = struct.pack("=BBBBBBBBI", family, prefix, 0, 0, _MAIN_TABLE, _PROTO_BOOT, scope, _UNICAST, 0)
    payload += attr(_RTA_DST, to) if to else b""
    payload += attr(_RTA_GATEWAY, gateway) if gateway else b""
    payload += u32(_RTA_OIF, index) + (u32(_RTA_PRIORITY, metric) if metric else b"")
    shown = inet_ntop(family, gateway) if gateway else "link"
    return Message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, payload, f"route by {shown} on {index}")


def new_rule(mark: int, table: int, family: int = AF_INET) -> Message:
    """Packets with this mark are looked up in that table."""
    payload = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, _TO_TABLE, 0)
    payload += u32(_FRA_FWMARK, mark) + u32(_FRA_TABLE, table)
    return Message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, payload, f"rule for mark {mark}", quiet=(errno.EEXIST,))


def new_local_route(table: int, family: int = AF_INET) -> Message:
    """In that table every address is this host's own (`ip route add local default dev lo`)."""
    payload = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, _PROTO_BOOT, _SCOPE_HOST, _LOCAL, 0)
    payload += u32(_RTA_OIF, 1) + u32(_RTA_TABLE, table)
    return Message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, payload, f"all is local in table {table}")


def links(sock: Netlink) -> list[Link]:
    """Every interface of the socket's namespace. Raises OSError."""
    return [Link(payload) for payload in sock.dump(Message(RTM_GETLINK, 0, _ifinfo(), "list links"))]


def link(sock: Netlink, name: str) -> Link | None:
    """One by its name."""
    try:
        found = sock.send([Message(RTM_GETLINK, 0, _ifinfo() + _named(name), f"link {name}")])
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return Link(found[0]) if found else None


def addresses(sock: Netlink) -> list[tuple[int, bytes, int]]:
    """(index of the link, address, prefix) of every address."""
    found = []
    for payload in sock.dump(Message(RTM_GETADDR, 0, struct.pack("=BBBBi", 0, 0, 0, 0, 0), "list addresses")):
        prefix, index = payload[1], struct.unpack_from("=i", payload, 4)[0]
        known = netlink.attributes(payload[8:])
        address = known.get(_IFA_LOCAL) or known.get(_IFA_ADDRESS)
        if address is not None:
            found.append((index, address, prefix))
    return found


def routes(sock: Netlink, family: int = AF_INET) -> list[tuple[bytes, int, int, bytes | None]]:
    """(destination, prefix, index of the link, gateway) of the main table's routes; b"" is the default's."""
    found = []
    empty = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)
    for payload in sock.dump(Message(RTM_GETROUTE, 0, empty, "list routes")):
        prefix, table, kind = payload[1], payload[4], payload[7]
        known = netlink.attributes(payload[12:])
        if table == _MAIN_TABLE and kind == _UNICAST:
            found.append((known.get(_RTA_DST, b""), prefix, _number(known.get(_RTA_OIF)), known.get(_RTA_GATEWAY)))
    return found
