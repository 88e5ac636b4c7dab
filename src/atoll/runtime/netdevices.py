"""`linux.netDevices`: interfaces of the host that move into the container's network namespace.

Holds: `check`, `move_all`. Imported only where there are some. Does not hold: rtnetlink (`linux/netmove.py`).
Source: config-linux.md 1.3 "Network Devices". They come up inside with their permanent addresses of global scope. At
the end of the namespace the kernel gives physical ones back to the initial one and removes virtual ones; the runtime
moves one back only if the creation fails.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.linux import netmove, process, rtnetlink
from atoll.linux.netlink import NETLINK_ROUTE, Netlink
from atoll.runtime import sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.base.rollback import Rollback
    from atoll.spec.runtime import Linux

_NAME_LONGEST = 15  # IFNAMSIZ with its NUL


def check(linux: Linux) -> None:
    """Refuse what the kernel would, and a container that shares the host's network. Raises InvalidArgument."""
    if not any(namespace.type == "network" for namespace in linux.namespaces):
        raise errors.InvalidArgument("linux.netDevices: needs a network namespace")
    taken: set[str] = set()
    for name, device in linux.net_devices:
        wanted = device.name or name
        if not _is_name(name):
            raise errors.InvalidArgument(f"linux.netDevices: {name!r} cannot name an interface")
        if not _is_name(wanted.removesuffix("%d") if device.name else wanted) or len(wanted) > _NAME_LONGEST:
            raise errors.InvalidArgument(f"linux.netDevices.{name}.name: {wanted!r} cannot name an interface")
        if wanted in taken and not wanted.endswith("%d"):
            raise errors.InvalidArgument(f"linux.netDevices.{name}.name: {wanted!r} given twice")
        taken.add(wanted)


def _is_name(name: str) -> bool:
    """dev_valid_name() of the kernel, net/core/dev.c; and no template."""
    if name in ("", ".", "..") or len(os.fsencode(name)) > _NAME_LONGEST:
        return False
    return not any(c in "/:%" or c.isspace() for c in name)


def move_all(linux: Linux, pid: int, undo: Rollback) -> tuple[Netlink, ...]:
    """Move every device into the network namespace of process `pid`. Raises AtollError naming the device. `undo`
    moves them back, over the sockets that are returned: the caller closes those when that is no longer to be."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        here, there = Netlink(NETLINK_ROUTE), _socket_in(namespace)
        undo.push(here.close)
        undo.push(there.close)
        for name, device in linux.net_devices:
            try:
                link = rtnetlink.link(here, name)
                index, kept = netmove.carry(here, there, namespace, name, device.name or name)
                undo.push(_move_back, there, here, index, name, kept, link is not None and link.up)
                netmove.settle(there, index, kept)
            except OSError as error:
                raise errors.from_os_error(error, f"move the network device {name} (linux.netDevices)") from error
        return here, there
    finally:
        os.close(namespace)


def _move_back(
    there: Netlink, here: Netlink, index: int, name: str, addresses: list[netmove.Address], up: bool
) -> None:
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        inside = next(one.name for one in rtnetlink.links(there) if one.index == index)
        back, _ = netmove.carry(there, here, own, inside, name)
        netmove.settle(here, back, addresses, up=up)
    finally:
        os.close(own)


def _socket_in(namespace: int) -> Netlink:
    """A socket of another network namespace, opened by a child there: this process never leaves its own."""
    ours, theirs = sync.pair()
    pid, pidfd = process.clone3(0)
    if pid == 0:
        try:
            process.setns(namespace, process.CLONE_NEWNET, "the container's network namespace")
            made = Netlink(NETLINK_ROUTE)
            sync.send(theirs, {"at": "socket"}, made.fileno())
        except OSError as error:
            sync.send(theirs, {"error": errors.from_os_error(error, "enter the network namespace").to_json()})
        finally:
            os._exit(0)
    theirs.close()
    os.close(pidfd)
    try:
        fd = sync.expect(ours, "at", "socket")
    finally:
        ours.close()
        os.waitpid(pid, 0)
    assert fd is not None
    return Netlink(NETLINK_ROUTE, fd)
