"""What the helper of an ordinary user's network needs of the host's network, which it is not in: sockets.

Holds: `Outside`. Does not hold: who makes them (`network/rootless/keeper.py`). A keeper of another namespace means
that this helper's is nobody's any more: it ends, and its containers are put into the new one (`reattach.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.network.helper.loop import Loop
from atoll.network.rootless import outer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from atoll.network.rootless.outer import Outer

_AGAIN_SECONDS = 0.5


class Outside:
    """A connection to the keeper for as long as the helper lives. Raises AtollError."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._folder = f"{os.environ['ATOLL_RUN_ROOT']}/networks"
        self._keeper: Outer | None = None
        self._hold()

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket:
        """One of the host's network. Raises OSError."""
        if self._keeper is None:
            raise OSError(111, "the keeper of this user's networks has ended")
        made = self._keeper.open_socket(family, kind, protocol)
        made.setblocking(False)
        return made

    def is_tcp_only(self) -> bool:
        """Whether nothing else goes out."""
        try:
            return self._keeper is not None and self._keeper.await_uplink() not in ("pasta", "slirp4netns")
        except errors.Unavailable:
            return False

    def _hold(self) -> None:
        """The keeper, or the one that has taken its place."""
        try:
            found = outer.find(self._folder)
        except errors.AtollError:
            found = None
        if found is None:
            self.loop.later(_AGAIN_SECONDS, self._hold)
            return
        here, there = os.stat("/proc/self/ns/net"), os.fstat(found.net)
        if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            found.close()
            self.loop.stop()
            return
        self._keeper = found
        fd = found.peer.fileno()

        def gone(events: int) -> None:
            self.loop.forget(fd)
            found.close()
            self._keeper = None
            self._hold()

        self.loop.watch(fd, 0, gone)  # only its end
