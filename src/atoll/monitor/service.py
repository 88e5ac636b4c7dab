"""What a fork of the spawner does with the connection it was made for: one request, one life.

Holds: `serve`. Does not hold: reading and doing the request (`creator.py`), the lives (`monitor.py`, `session.py`).
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socketpair

from atoll.linux.title import set_title
from atoll.monitor import creator, monitor, session
from atoll.monitor.company import settle
from atoll.monitor.creator import CREATE
from atoll.monitor.peer import Peer
from atoll.monitor.spawning import in_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable


def serve(connection: socket, report: Callable[[int, str, int | None], None]) -> None:
    """Do the one request of a connection (steps 4 to 19 of `protocol.py`). Returns when all of it has ended; a
    command that leaves before its request, or talks nonsense, ends it at once.

    `report(pid, run, console)` tells the spawner of a container.
    """
    settle()
    set_title("atoll:[monitor]")
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    if os.fork() == 0:
        ours.close()
        in_fork(lambda: creator.run(connection, theirs))
    theirs.close()  # the end of the creator must be the end of the pair
    made = creator.receive(ours)
    ours.close()
    if made is None:
        return
    handover, fds = made
    peer = Peer(connection)
    if handover.what == CREATE:
        monitor.keep(handover, fds, peer, report=report)
    else:
        session.keep(handover, fds, peer)
