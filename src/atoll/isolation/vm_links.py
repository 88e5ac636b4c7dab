"""A network more or less for a machine that runs: what its container's network namespace has got or lost.

Holds: `check`, `bring`, `take_away`. Does not hold: the interface in that namespace (`engine/networks/connect.py`),
the keeper's and the guest's part (`guest/linking.py`).
A machine has one interface to spare, which is at a hub of QEMU's: a tap can be brought there at any time.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.guest import member
from atoll.guest.enter import NOTE
from atoll.isolation.vm_guest import guest_of
from atoll.isolation.vm_saving import connected
from atoll.linux import netns, rtnetlink
from atoll.linux.netlink import NETLINK_ROUTE
from atoll.network import tap
from atoll.vm.drivers import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.isolation.protocol import ContainerPlan
    from atoll.network.tap import GuestLink

_HINT = "stop it first: it has the network from its next start on"
_NAMES = ("/etc/hosts", "/etc/resolv.conf")


def check(run: str, pid: int) -> None:
    """Before a network is given to the namespace of the machine of `run`, whose keeper is `pid`: whether the machine
    can have it. Raises Unsupported, FailedPrecondition naming why not."""
    try:
        driver = named(str(jsontext.loads(files.read_bytes(f"{run}/{NOTE}")).get("driver") or "qemu"))
    except (OSError, ValueError) as error:
        raise errors.Corrupt(f"damaged record {run}/{NOTE}: {error}") from None
    carried, others = _interfaces(pid)
    if others and not carried:
        return  # a network of the VMM's own: what it opens in there reaches the new one, too
    if not driver.second:
        raise errors.Unsupported(
            f"a machine that {driver.title} makes cannot be connected to a network while it runs", hint=_HINT
        )
    if not carried:
        raise errors.Unsupported("a machine without any network cannot be given one while it runs", hint=_HINT)
    if len(carried) > 1:
        raise errors.FailedPrecondition(
            "a machine is on two networks at most", hint="atoll network disconnect NETWORK CONTAINER"
        )


def bring(run: str, pid: int, plan: ContainerPlan) -> None:
    """Give the guest the interface that its container's namespace has got, and the names there are now. Raises
    AtollError; then the guest has nothing of it."""
    carried, others = _interfaces(pid)
    if not carried:
        return
    if len(others) != 1:
        raise errors.FailedPrecondition("the container has no interface more than its machine")
    ns = _namespace(pid)
    try:
        taken = tap.take(ns, others[0], vnet_header=False)
    finally:
        os.close(ns)
    try:
        names = _names(plan)
        member.asked(connected(pid), {"link": tap.told(taken.link), "files": names}, "machine", taken.fd)
    except BaseException as error:
        try:
            member.asked(connected(pid), {"link": {"gone": taken.link.mac.hex()}, "files": {}}, "machine")
        except errors.AtollError as failure:
            error.add_note(f"while undoing: {failure}")
        raise
    finally:
        taken.close()


def take_away(pid: int, plan: ContainerPlan, mac: bytes) -> None:
    """Take from the guest the interface of that address, which its container's namespace has lost. Raises
    AtollError."""
    if _interfaces(pid)[0]:
        member.asked(connected(pid), {"link": {"gone": mac.hex()}, "files": _names(plan)}, "machine")


def _names(plan: ContainerPlan) -> dict[str, Any]:
    """The container's files of names as they are now, by what the guest calls them."""
    guest = guest_of(plan)
    found = {}
    for mount in guest.spec.mounts:
        name = (mount.source or "").rpartition("/")[2]
        if mount.destination in _NAMES and name in guest.files:
            found[name] = guest.files[name]
    return found


def _namespace(pid: int) -> int:
    try:
        return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.from_os_error(error, "find the machine's network namespace") from error


def _interfaces(pid: int) -> tuple[list[GuestLink], list[GuestLink]]:
    """Those that are carried to a tap, and those that are not."""
    ns = _namespace(pid)
    try:
        found = tap.guest_links(ns)
        (route,) = netns.sockets_in(ns, (NETLINK_ROUTE,))
        try:
            carried = [one for one in found if rtnetlink.link(route, tap.tap_name(one.name)) is not None]
        finally:
            route.close()
    except OSError as error:
        raise errors.from_os_error(error, "look at the machine's interfaces") from error
    finally:
        os.close(ns)
    return carried, [one for one in found if one not in carried]
