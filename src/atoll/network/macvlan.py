"""A container as a host of its own on the network of one of this host's links.

Holds: `attach`. Does not hold: taking it away: the link goes with the container's network namespace. A parent such as
`eth0.10` is made as a VLAN of eth0 where it is not there.
"""

from __future__ import annotations

import errno

from atoll.base import errors
from atoll.linux import rtnetlink
from atoll.network.bridge import Bridge, Port, inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.linux.netlink import Netlink
    from atoll.network.bridge import Host


def attach(host: Host, network: Bridge, mode: str, port: Port, ns: int, inner: Netlink) -> None:
    """Put a container on the parent `network.name` ("": that of the default route). Raises AtollError."""
    try:
        parent = _parent(host, network.name)
        host.route.send(
            [rtnetlink.new_macvlan(port.link, parent=parent, mode=mode, ns=ns, mac=port.mac, mtu=network.mtu)]
        )
        found = rtnetlink.link(inner, port.link)
        if found is None:
            raise errors.Internal(f"{port.link} did not arrive in the container")
        inner.send([rtnetlink.rename(found.index, port.inside)])
        inner.send(inside(network, port, found.index))
    except OSError as error:
        raise errors.from_os_error(error, f"attach the container to {network.name or 'the default link'}") from error


def _parent(host: Host, name: str) -> int:
    if not name:
        for to, prefix, index, gateway in rtnetlink.routes(host.route):
            if not to and not prefix and gateway is not None:
                return index
        raise errors.FailedPrecondition(
            "a macvlan needs a parent, and this host has no default route", hint="network create -o parent=eth0"
        )
    found = rtnetlink.link(host.route, name)
    if found is None:
        found = _vlan(host, name)
    return found.index


def _vlan(host: Host, name: str) -> rtnetlink.Link:
    base, dot, tag = name.rpartition(".")
    above = rtnetlink.link(host.route, base) if dot and tag.isdecimal() else None
    if above is None:
        raise errors.NotFound(f"this host has no interface {name}", hint="'ip link' lists them")
    try:
        host.route.send([rtnetlink.new_vlan(name, parent=above.index, tag=int(tag))])
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    found = rtnetlink.link(host.route, name)
    if found is None:
        raise errors.Internal(f"{name} was made and is not there")
    return found
