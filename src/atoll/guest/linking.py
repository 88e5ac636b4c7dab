"""A network more or less for a machine that runs, at its spare interface.

Holds: `request` (the keeper's part: the machine), `keep` (the agent's: the interface, and the files of names). Does
not hold: who asks (`isolation/vm_links.py`), the hub that makes it possible (`vm/qemu.py`).
"""

from __future__ import annotations

import binascii
import os

from atoll.base import errors
from atoll.guest import setup
from atoll.linux import rtnetlink
from atoll.linux.netlink import NETLINK_ROUTE, Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.guest.keeper import Keeper


def request(keeper: Keeper, wanted: dict[str, Any], fds: tuple[int, ...]) -> dict[str, Any]:
    """Bring the tap `fds[0]` to the machine, or take the second one from it, and say what the guest is then asked
    for. The descriptors are ours. Raises Unsupported, FailedPrecondition, Unavailable."""
    from atoll.vm import qemu  # the guest loads this module, too, and has no VMM

    link, links = wanted["link"], keeper.started.links
    second = keeper.config.get("second", len(links) > 1)
    try:
        if not links:
            raise errors.Unsupported("a machine without any network cannot be given one while it runs")
        if fds and second:
            raise errors.FailedPrecondition(
                "the machine has no interface to spare", hint="it has when it is restarted"
            )
        if fds:
            qemu.bring(keeper.control(), fds[0])
            keeper.config["second"] = True
        elif second and link["gone"] != links[0]["mac"]:  # the first one's tap stays: nothing comes from it any more
            qemu.take_away(keeper.control())
            keeper.config["second"] = False
    finally:
        for fd in fds:
            os.close(fd)
    return {"ask": "link", "link": link, "files": wanted["files"], "terminal": False, "stdin": False}


def keep(message: dict[str, Any]) -> dict[str, Any]:
    """In the guest: the interface as it is to be. Raises AtollError, OSError."""
    link = message["link"]
    real = setup.real_interfaces()
    route = Netlink(NETLINK_ROUTE)
    try:
        if "gone" in link:
            for number, one in enumerate(real):
                if one.mac.hex() == link["gone"]:
                    _quiet(route, one, spare=number > 0)
        else:
            free = [one for one in real if one.name.startswith(setup.SPARE)]
            if not free:
                raise errors.FailedPrecondition("the machine has no interface to spare")
            setup.configure(route, free[0], link)
    finally:
        route.close()
    for name, content in message["files"].items():
        rewrite(name, content)
    return {}


def rewrite(name: str, content: dict[str, Any]) -> None:
    """A small file of the container's, in place: it is mounted there. Raises OSError."""
    path = f"{setup.FILES}/{os.path.basename(name)}"
    if os.path.exists(path):
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        with os.fdopen(fd, "wb") as stream:
            stream.write(binascii.a2b_base64(content["content"]))


def _quiet(route: Netlink, one: rtnetlink.Link, *, spare: bool) -> None:
    """Down and without addresses; one to `spare` under a name that is in nobody's way."""
    held = [known for known in rtnetlink.addresses(route) if known[0] == one.index]
    route.send([rtnetlink.delete_address(*known) for known in held] + [rtnetlink.set_down(one.index)])
    if spare:
        route.send([rtnetlink.rename(one.index, f"{setup.SPARE}{one.index}")])
