"""Netlink sockets inside another network namespace: setns(2) there, a socket, and back.

Holds: `sockets_in`. Does not hold: what is said through them.
"""

from __future__ import annotations

import os

from atoll.linux import process
from atoll.linux.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def sockets_in(ns: int, protocols: Sequence[int]) -> list[Netlink]:
    """A netlink socket for each protocol, in the namespace of the descriptor `ns`. This thread is elsewhere for a
    moment. Raises OSError."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    made: list[Netlink] = []
    try:
        process.setns(ns, process.CLONE_NEWNET, "enter the network namespace")
        try:
            made = [Netlink(protocol) for protocol in protocols]
        finally:
            process.setns(home, process.CLONE_NEWNET, "leave the network namespace")
    finally:
        os.close(home)
    return made
