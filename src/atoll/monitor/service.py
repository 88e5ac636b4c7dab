"""What a fork of the spawner does with the connection it was made for: reads one request and lives for it.

Holds: `serve`. Does not hold: the lives themselves (`monitor.py`, `session.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.linux.title import set_title
from atoll.monitor import monitor, session
from atoll.monitor.company import settle
from atoll.monitor.peer import Peer
from atoll.monitor.protocol import (
    CONTROL,
    CONTROL_MAX,
    DATA_MAX,
    REQUEST_MAX,
    VERSION,
    FrameReader,
    Malformed,
    check_version,
    control,
    parse_control,
)
from atoll.monitor.requests import Create, Exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any


def serve(connection: socket, report: Callable[[int, str, int | None], None]) -> None:
    """Read the first request and do it (steps 4 to 19 of `protocol.py`). Returns when all of it has ended; a peer
    that leaves or talks nonsense ends it at once.

    `report(pid, run, console)` tells the spawner of a container.
    """
    settle()
    set_title("atoll:[monitor]")
    reader = FrameReader(REQUEST_MAX)
    try:
        message = _first(connection, reader)
        if message is None:
            return
        check_version(message)
        do, promise = message.get("do"), message.get("promise") is True
        if do == "create":
            creation = Create.from_json(message.get("request"))
        elif do == "exec":
            entry = Exec.from_json(message.get("request"))
        elif do == "ping":
            connection.sendall(control({"is": "pong", "v": VERSION}))
            return
        else:
            return
    except errors.AtollError as error:
        _refuse(connection, error)
        return
    except (Malformed, OSError):
        return
    del message  # a request may be large, and a monitor lives long
    reader.limit = CONTROL_MAX
    peer = Peer(connection, reader)
    if do == "create":
        monitor.keep(creation, peer, promise=promise, report=report)
    else:
        session.keep(entry, peer, rlimits=monitor.take_rlimits)


def _first(connection: socket, reader: FrameReader) -> dict[str, Any] | None:
    """The first message, however long the command takes to send it; None if it leaves before. It is alone: a
    command waits for its answer."""
    while True:
        data = connection.recv(DATA_MAX)
        if not data:
            return None
        frames = reader.feed(data)
        if frames:
            if len(frames) > 1 or frames[0][0] != CONTROL or reader.partial:
                raise Malformed("more than a request")
            return parse_control(frames[0][1])


def _refuse(connection: socket, error: errors.AtollError) -> None:
    try:
        connection.sendall(control({"is": "error", "error": error.to_json()}))
    except OSError:
        pass
