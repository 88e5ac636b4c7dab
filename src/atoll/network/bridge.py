"""A bridge on this host (or in a user's own network namespace), and containers' ports on it.

Holds: `Bridge`, `Port`, making and removing them, in an order that a SIGKILL at any step leaves mendable. Does not
hold: the rules (`firewall.py`), who has which address (the store), names (`helper/`).

    bridge   made down → addresses → sysctls → sets → up         an up bridge is whole; a down one is made anew
    port     elements → veth (one message: pair, names, bridge, namespace) → inside: up, addresses, routes
"""

from __future__ import annotations

import errno
import os

from atoll.base import errors
from atoll.base.value import Value
from atoll.linux import netns, rtnetlink
from atoll.linux import nftables as nft
from atoll.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Message, Netlink
from atoll.linux.nftables import INET
from atoll.network import firewall
from atoll.network.addresses import Subnet, mac_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.network.firewall import Change


_LINGERING: list[Netlink] = []


class Bridge(Value):
    """A network's bridge. `gateways` are its own addresses, one a subnet (none: no way out). `apart`: its containers
    reach the outside but not one another (Docker's com.docker.network.bridge.enable_icc=false)."""

    name: str
    subnets: tuple[Subnet, ...]
    gateways: tuple[bytes, ...]
    mtu: int = 0
    internal: bool = False
    masquerade: bool = True
    apart: bool = False


class Port(Value):
    """A container on a bridge: `link` on this side, `inside` (eth0, …) with `mac` and `addresses` on the other.
    `routed`: its default routes go by this network."""

    link: str
    inside: str
    mac: bytes
    addresses: tuple[bytes, ...]
    routed: bool = True


class Host:
    """The sockets of the network namespace that the bridges are in. `run_inside` carries out writes to /proc/sys
    there; None: this process is in it. `ready` waits until it has its way out, `release` is called at the end, `mtu`
    is what links have that say none."""

    def __init__(
        self,
        route: Netlink,
        filters: Netlink,
        *,
        run_inside: Callable[[Callable[[], tuple[int, ...]]], object] | None = None,
        ready: Callable[[], object] | None = None,
        release: Callable[[], None] | None = None,
        mtu: int = 0,
    ) -> None:
        self.route, self.filters = route, filters
        self.run_inside, self.ready, self.release, self.mtu = run_inside, ready, release, mtu
        self.took = False

    @classmethod
    def here(cls) -> Host:
        """Of this process. Raises AtollError."""
        try:
            return cls(Netlink(NETLINK_ROUTE), Netlink(NETLINK_NETFILTER))
        except OSError as error:
            raise errors.from_os_error(error, "open a netlink socket") from error

    def commit(self, messages: list[Message]) -> None:
        """A batch of nftables. Raises OSError."""
        nft.commit(self.filters, messages)

    def take_away(self, change: Change) -> None:
        """Remove elements, there or not. Raises OSError."""
        self.took = True
        try:
            self.commit(change.remove())
        except OSError as error:
            if error.errno == errno.ENOENT:  # the table, or a set of it, is not there
                return
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            self._delete_present(change)

    def _delete_present(self, change: Change) -> None:
        """Before Linux 6.3: one batch for each that is there."""
        for family, name, wanted, _ in change.parts:
            there = {key for key, _ in nft.elements(self.filters, family, firewall.TABLE, name)}
            found = [one for one in wanted if one.key in there]
            if found:
                self.commit([nft.delete_elements(family, firewall.TABLE, name, found)])

    def ensure_tables(self) -> bool:
        """Both tables, made if they are not there; whether they were not. Raises OSError."""
        if nft.chain_exists(self.filters, INET, firewall.TABLE, firewall.MARK):
            return False
        try:
            try:
                self.commit(firewall.everything(self._connections()))
            except FileNotFoundError:  # a kernel without nft_connlimit
                self.commit(firewall.everything())
        except OSError as error:
            # Rules of another command's batch were there a moment earlier: never twice the same rules.
            if not nft.chain_exists(self.filters, INET, firewall.TABLE, firewall.MARK):
                raise errors.from_os_error(error, "make the nftables tables", hint=_NFT_HINT) from error
            return False
        return True

    def _connections(self) -> int:
        """How many a container may have: a quarter of what the host's table holds. The kernel says how much that is
        once something has asked for connection tracking. Raises OSError."""
        from atoll.network import conntrack

        if conntrack.table() is None:
            self.commit(firewall.asking_for_connections())
        return conntrack.share(conntrack.table())

    def remove_tables(self) -> None:
        """Away with our tables, unless a bridge of another store is in them. Raises AtollError."""
        try:
            if nft.elements(self.filters, INET, firewall.TABLE, "bridges"):
                return
            there = set(nft.tables(self.filters))
            families = [one for one in (INET, nft.BRIDGE, nft.NETDEV) if (one, firewall.TABLE) in there]
            self.commit([nft.delete_table(family, firewall.TABLE) for family in families])
        except OSError as error:
            raise errors.from_os_error(error, "remove the nftables tables") from error

    def close(self) -> None:
        """Close both. After elements were taken away, closing the one for filters would wait until the kernel has
        freed those (net/netfilter/nf_tables_api.c, nft_rcv_nl_event: 8 ms and more): the next one of this process
        waits, or its end, and neither has to for long."""
        self.route.close()
        while _LINGERING:
            _LINGERING.pop().close()
        if self.took:
            _LINGERING.append(self.filters)
        else:
            self.filters.close()
        if self.release is not None:
            self.release()
            self.release = None


_NFT_HINT = "the kernel needs nf_tables, nft_ct, nft_nat, nft_masq, nft_fib_inet and nft_reject_inet"


def ensure(host: Host, bridge: Bridge) -> int:
    """The index of the bridge, made if it is not there. Raises AtollError."""
    try:
        found = rtnetlink.link(host.route, bridge.name)
        if found is not None and found.up and found.kind == "bridge":
            return found.index
        if found is not None and found.kind != "bridge":
            raise errors.Conflict(
                f"{bridge.name} is an interface of another kind", hint=f"ip link show {bridge.name}"
            )
        return _make(host, bridge)
    except OSError as error:
        raise errors.from_os_error(error, f"make the bridge {bridge.name}") from error


def _make(host: Host, bridge: Bridge) -> int:
    """In an order in which "up" is said last. Two commands may do this at once: each step is fine with done."""
    # 1. The link, down.
    first_v4 = next((one for one in bridge.gateways if len(one) == 4), None)
    try:
        host.route.send([rtnetlink.new_bridge(bridge.name, mac=mac_of(first_v4), mtu=bridge.mtu or host.mtu)])
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    found = rtnetlink.link(host.route, bridge.name)
    assert found is not None
    # 2. Sysctls before any address: no duplicate detection, and 127.0.0.1 may be routed to it.
    if host.run_inside is None:
        set_sysctls(bridge)
    else:
        host.run_inside(lambda: _set_sysctls_there(bridge))
    # 3. Its own addresses.
    host.route.send(
        [
            rtnetlink.new_address(found.index, gateway, subnet.prefix, broadcast=subnet.broadcast, exclusive=False)
            for subnet, gateway in zip(bridge.subnets, bridge.gateways, strict=False)
        ]
    )
    # 4. What the rules are to know of it.
    host.ensure_tables()
    change = _change(bridge)
    try:
        host.commit(change.add())
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    # 5. Whole.
    host.route.send([rtnetlink.set_up(found.index)])
    return found.index


def _change(bridge: Bridge) -> Change:
    return firewall.bridge(
        bridge.name, bridge.subnets, internal=bridge.internal, masquerade=bridge.masquerade and bool(bridge.gateways)
    )


def remove(host: Host, bridge: Bridge) -> None:
    """Away with the bridge and what the rules know of it; gone is fine. Raises AtollError."""
    try:
        host.route.send([rtnetlink.delete_link(bridge.name)])
        host.take_away(_change(bridge))
    except OSError as error:
        raise errors.from_os_error(error, f"remove the bridge {bridge.name}") from error


def set_sysctls(bridge: Bridge) -> None:
    """In this process's network namespace: what the bridge needs, and that the host forwards at all."""
    v4, v6 = f"net/ipv4/conf/{bridge.name}", f"net/ipv6/conf/{bridge.name}"
    six = any(subnet.six for subnet in bridge.subnets)
    _write(f"{v4}/route_localnet", "1")
    _write(f"{v6}/accept_ra", "0")
    _write(f"{v6}/accept_dad", "0")
    _write(f"{v6}/disable_ipv6", "0" if six else "1")
    if not bridge.internal and bridge.gateways:
        _write("net/ipv4/ip_forward", "1")
        if six:
            _keep_router_advertisements()
            _write("net/ipv6/conf/all/forwarding", "1")


def _set_sysctls_there(bridge: Bridge) -> tuple[int, ...]:
    set_sysctls(bridge)
    return ()


def _keep_router_advertisements() -> None:
    """A host that forwards IPv6 no longer listens to its own router unless told to (ip-sysctl, accept_ra)."""
    if _read("net/ipv6/conf/all/forwarding") == "1":
        return
    try:
        names = os.listdir("/proc/sys/net/ipv6/conf")
    except OSError:
        return
    for name in names:
        if name not in ("all", "lo") and _read(f"net/ipv6/conf/{name}/accept_ra") == "1":
            _write(f"net/ipv6/conf/{name}/accept_ra", "2")


def _read(name: str) -> str:
    try:
        fd = os.open("/proc/sys/" + name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 64).decode().strip()
    finally:
        os.close(fd)


def _write(name: str, value: str) -> None:
    """Only what differs. A kernel without IPv6, or a /proc/sys that is read-only and right, is fine."""
    if _read(name) in (value, ""):
        return
    try:
        fd = os.open("/proc/sys/" + name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        hint = f"run: sysctl -w {name.replace('/', '.')}={value}"
        raise errors.from_os_error(error, f"set {name}", hint=hint) from error


def attach(host: Host, bridge: Bridge, master: int, port: Port, ns: int, inner: Netlink) -> None:
    """Put a container, whose network namespace is the descriptor `ns` and answers by `inner`, on a bridge with index
    `master`. Raises AtollError; then nothing of it is left."""
    try:
        # 1. What it may send from, before it can send.
        host.commit(firewall.port(port.link, port.mac, port.addresses).add())
        # 2. The pair. A port of that name is what a killed command left of the same container.
        pair = rtnetlink.new_veth(
            port.link,
            master=master,
            peer=port.inside,
            peer_ns=ns,
            peer_mac=port.mac,
            mtu=bridge.mtu or host.mtu,
        )
        try:
            host.route.send([pair])
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            host.route.send([rtnetlink.delete_link(port.link)])
            host.route.send([pair])
        if bridge.apart:
            found = rtnetlink.link(host.route, port.link)
            assert found is not None
            host.route.send([rtnetlink.set_port(found.index, isolated=True)])
        # 3. Inside. Routes come after the addresses that they go by.
        # Its index there is asked for: the kernel heeds a wish for a pair's only where both ends have one.
        arrived = rtnetlink.link(inner, port.inside)
        if arrived is None:
            raise OSError(errno.ENODEV, "it did not arrive in the container", port.inside)
        inner.send(inside(bridge, port, arrived.index))
    except OSError as error:
        try:
            detach(host, port)
        except errors.AtollError as failed:
            error.add_note(f"while undoing: {failed}")
        if error.errno == errno.EXFULL:  # BR_MAX_PORTS, and port 0 is the bridge itself
            raise errors.Exhausted(
                f"{bridge.name} has 1023 ports, and the kernel gives a bridge no more",
                hint="put further containers on a second network",
            ) from error
        raise errors.from_os_error(error, f"attach the container to {bridge.name}") from error


def inside(bridge: Bridge, port: Port, index: int) -> list[Message]:
    """What is done in the container's network namespace."""
    messages = [rtnetlink.set_up(index)]
    for address in port.addresses:
        subnet = next(one for one in bridge.subnets if one.holds(address))
        messages.append(rtnetlink.new_address(index, address, subnet.prefix, broadcast=subnet.broadcast))
    if port.routed and not bridge.internal:
        families = {len(address) for address in port.addresses}
        messages += [rtnetlink.new_route(index, gw) for gw in bridge.gateways if len(gw) in families]
    return messages


def detach(host: Host, port: Port) -> None:
    """Take a container off a bridge; gone, as with its namespace, is fine. Raises AtollError."""
    try:
        host.route.send([rtnetlink.delete_link(port.link)])
    except OSError as error:
        raise errors.from_os_error(error, f"take {port.link} away") from error
    forget(host, port)


def forget(host: Host, port: Port) -> None:
    """Of a container whose network namespace goes with its processes, and the link with that: only what the rules
    know of it. Raises AtollError."""
    try:
        host.take_away(firewall.port(port.link, port.mac, port.addresses))
    except OSError as error:
        raise errors.from_os_error(error, f"forget {port.link}") from error


def inner_socket(ns: int) -> Netlink:
    """A route socket in the network namespace of a descriptor. Raises AtollError."""
    try:
        return netns.sockets_in(ns, (NETLINK_ROUTE,))[0]
    except OSError as error:
        raise errors.from_os_error(error, "enter the container's network namespace") from error
