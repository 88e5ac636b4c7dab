"""The conversation with a process that was started to work confined: JSON, and descriptors, over SOCK_SEQPACKET.

Holds: `tell` and `heard` for who has started it, `Channel` for the process. Does not hold: what is said
(`worker.py` and `isolation/files/client.py` draw that), starting one.
"""

from __future__ import annotations

import _socket
import struct

from atoll.base import errors, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MAX_MESSAGE = 1 << 20
_MOST_FDS = 253  # SCM_MAX_FD, unix(7)


class Ended(Exception):
    """The other side of the socket is gone."""


def tell(socket: _socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message. Raises OSError."""
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
    socket.sendmsg([jsontext.dumps(message).encode()], ancillary)


def heard(socket: _socket.socket) -> dict[str, Any]:
    """The next answer. Raises Ended when the process has died, and the error that it tells of (AtollError)."""
    try:
        data = socket.recv(MAX_MESSAGE)
    except OSError:
        data = b""
    if not data:
        raise Ended
    answer = jsontext.loads(data)
    if "error" in answer:
        raise errors.from_json(answer["error"])
    return dict(answer)


class Channel:
    """The process's own end, by its descriptor."""

    def __init__(self, fd: int) -> None:
        self.socket = _socket.socket(fileno=fd)

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """The next message and what came with it. Raises Ended, OSError."""
        data, ancillary, _, _ = self.socket.recvmsg(MAX_MESSAGE, _socket.CMSG_SPACE(_MOST_FDS * 4))
        if not data:
            raise Ended
        fds: list[int] = []
        for level, kind, content in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                count = len(content) // 4
                fds.extend(struct.unpack(f"{count}i", content[: count * 4]))
        return jsontext.loads(data), fds

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises OSError."""
        self.socket.send(jsontext.dumps(message).encode())
