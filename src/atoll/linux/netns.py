"""Acting inside another network namespace for a moment: setns(2) there, and back.

Holds: `inside`, `sockets_in`. Does not hold: what is said through the sockets.
"""

from __future__ import annotations

import os

from atoll.linux import process
from atoll.linux.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")


def inside(ns: int, call: Callable[[], T]) -> T:
    """What `call` gives in the namespace of the descriptor `ns`. This thread is elsewhere for a moment. Raises
    OSError."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        process.setns(ns, process.CLONE_NEWNET, "enter the network namespace")
        try:
            return call()
        finally:
            process.setns(home, process.CLONE_NEWNET, "leave the network namespace")
    finally:
        os.close(home)


def sockets_in(ns: int, protocols: Sequence[int]) -> list[Netlink]:
    """A netlink socket for each protocol, in the namespace of the descriptor `ns`. Raises OSError."""
    return inside(ns, lambda: [Netlink(protocol) for protocol in protocols])
