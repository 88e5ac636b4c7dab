"""Doctor's look at networks: links, filters and what an ordinary user's networks need. Tried in a namespace of its
own, in which nothing of the host is touched."""

from __future__ import annotations

import os

from atoll.engine.doctor.findings import GOOD, NOTE, POOR, Finding
from atoll.engine.doctor.trials import as_ordinary, attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.doctor.findings import Host

_MAC = bytes.fromhex("02a701000001")
_LOW_PORTS = 1024


def networks(host: Host) -> list[Finding]:
    """Bridges, pairs of links, macvlan, packet filters, room for connections; then an ordinary user's helpers."""
    trials: tuple[tuple[str, Callable[[], None], str, str], ...] = (
        ("bridge", _bridge, "bridge and veth links can be made: networks work", "modprobe bridge veth"),
        ("macvlan", _macvlan, "macvlan links can be made", "modprobe macvlan"),
        ("packet filter", _filter, "nftables: ports and egress policies work", "modprobe nf_tables nf_nat"),
    )
    found = []
    for title, act, works, fix in trials:
        said = attempt(lambda act=act: _apart(act))  # type: ignore[misc]
        found.append(
            Finding(
                area="networks",
                title=title,
                outcome=GOOD if said is None else POOR,
                said=works if said is None else f"refused: {said}",
                fix="" if said is None else fix,
            )
        )
    return [*found, *_forwarding(host), *_connections(host), *_rootless(host)]


def _apart(act: Callable[[], None]) -> None:
    from atoll.linux import process

    if os.geteuid() == 0:
        process.unshare(process.CLONE_NEWNET)
    else:
        as_ordinary(process.CLONE_NEWNET)
    act()


def _bridge() -> None:
    from atoll.linux import rtnetlink
    from atoll.linux.netlink import NETLINK_ROUTE, Netlink

    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    sock = Netlink(NETLINK_ROUTE)
    sock.send([rtnetlink.new_bridge("atolltrial", mac=_MAC)])
    made = rtnetlink.link(sock, "atolltrial")
    assert made is not None
    sock.send([rtnetlink.new_veth("atolltrial1", master=made.index, peer="atolltrial2", peer_ns=own)])


def _macvlan() -> None:
    from atoll.linux import rtnetlink
    from atoll.linux.netlink import NETLINK_ROUTE, Netlink

    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    sock = Netlink(NETLINK_ROUTE)
    sock.send([rtnetlink.new_veth("atolltrial1", master=0, peer="atolltrial2", peer_ns=own)])
    parent = rtnetlink.link(sock, "atolltrial1")
    assert parent is not None
    sock.send([rtnetlink.new_macvlan("atolltrial3", parent=parent.index, mode="bridge", ns=own)])


def _filter() -> None:
    from atoll.linux import nftables as nft
    from atoll.linux.netlink import NETLINK_NETFILTER, Netlink
    from atoll.network import firewall

    nft.commit(Netlink(NETLINK_NETFILTER), firewall.everything())


def _forwarding(host: Host) -> list[Finding]:
    if host.uid:
        return []
    on = host.sysctl("net.ipv4.ip_forward") == 1
    said = "forwarding is on" if on else "forwarding is off; the first container on a bridge switches it on"
    return [Finding(area="networks", title="forwarding", outcome=GOOD if on else NOTE, said=said)]


def _connections(host: Host) -> list[Finding]:
    """Whether the table that all connections share has room."""
    from atoll.network import conntrack

    table = conntrack.table(host.root)
    if table is None:
        return []
    said = f"{table.count} of {table.most} are open; a container may have {conntrack.share(table)}"
    if table.count >= table.most:
        said += ": there is no room, and the kernel drops every new one, the host's own too"
    elif table.nearly_full:
        said += ": when there is no room, the kernel drops every new one, the host's own too"
    more = f"sysctl -w net.netfilter.nf_conntrack_max={2 * table.most}" if table.nearly_full else ""
    outcome = POOR if table.nearly_full else GOOD
    return [Finding(area="networks", title="connections", outcome=outcome, said=said, fix=more)]


def _rootless(host: Host) -> list[Finding]:
    helpers = [name for name in ("pasta", "slirp4netns") if host.program(name)]
    tun = os.access(host.root + "/dev/net/tun", os.R_OK | os.W_OK) and _open_to_all(host.root + "/dev/net/tun")
    if not helpers:
        first = Finding(
            area="networks",
            title="without root",
            outcome=POOR,
            said="neither pasta nor slirp4netns: an ordinary user's containers reach little",
            fix=host.install("passt"),
        )
    elif not tun:
        first = Finding(
            area="networks",
            title="without root",
            outcome=POOR,
            said=f"{' and '.join(helpers)} there, but ordinary users may not open /dev/net/tun",
            fix="as root: chmod 666 /dev/net/tun",
        )
    else:
        said = f"{' and '.join(helpers)} there: an ordinary user's containers have networks"
        first = Finding(area="networks", title="without root", outcome=GOOD, said=said)
    least = host.sysctl("net.ipv4.ip_unprivileged_port_start")
    low = least is not None and least < _LOW_PORTS
    second = Finding(
        area="networks",
        title="low ports",
        outcome=NOTE,
        said=f"an ordinary user may publish ports from {least} on",
        fix="" if low or least is None else "sysctl -w net.ipv4.ip_unprivileged_port_start=80",
    )
    return [first, *([second] if least is not None else [])]


def _open_to_all(path: str) -> bool:
    try:
        return os.stat(path).st_mode & 0o006 == 0o006
    except OSError:
        return False
