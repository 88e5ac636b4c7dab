"""One connected command, seen from a monitor: frames in, a bounded queue out, its window of input.

Holds: `Peer`. Does not hold: what messages mean (`company.py`, `monitor.py`), which peers there are (`relay.py`).
"""

from __future__ import annotations

from atoll.monitor.protocol import DATA_MAX, WINDOW, FrameReader, Malformed, control, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

HIGH = 1 << 18
"""Bytes waiting for a peer from which on it holds up the container's output."""
MOST = 8 << 20
"""Bytes waiting for a peer from which on it is dropped. Output stops at HIGH, so only what a container leaves at its
end and answers to a peer that asks without reading come here."""


class Peer:
    """A non-blocking connection. `output`: wants streams 1 and 2; `input`: feeds stream 0; `promise`: will clean
    up; `known`: has sent its request."""

    __slots__ = ("_out", "gone", "input", "known", "output", "promise", "reader", "socket", "window")

    def __init__(self, connection: socket, reader: FrameReader | None = None) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.reader = reader or FrameReader()
        self.window = WINDOW
        self.output = self.input = self.promise = self.known = self.gone = False
        self._out = bytearray()

    def receive(self) -> list[tuple[int, bytes]] | None:
        """The frames that have come, None at the end. Raises Malformed."""
        try:
            data = self.socket.recv(DATA_MAX)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            return None
        return self.reader.feed(data) if data else None

    def tell(self, message: dict[str, Any]) -> None:
        """Queue a control message."""
        self.send(control(message))

    def send_output(self, stream: int, data: bytes) -> None:
        """Queue output, at most DATA_MAX bytes."""
        self.send(frame(stream, data))

    def send(self, data: bytes) -> None:
        """Queue raw frames and try to send. A peer that has gone or takes nothing is marked `gone`."""
        if self.gone:
            return
        if self._out:
            self._out += data
        else:
            sent = self._try(data)
            if sent < len(data):
                self._out += data[sent:]
        if len(self._out) > MOST:
            self.gone = True

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        while self._out and not self.gone:
            sent = self._try(self._out[:DATA_MAX])
            if not sent:
                return
            del self._out[:sent]

    def _try(self, data: bytes | bytearray) -> int:
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:  # EPIPE, ECONNRESET: it went away
            self.gone = True
            return 0

    @property
    def waiting(self) -> bool:
        """Whether something is queued."""
        return bool(self._out) and not self.gone

    @property
    def blocked(self) -> bool:
        """Whether it holds up the output."""
        return len(self._out) >= HIGH and not self.gone

    def take(self, size: int) -> None:
        """Count input against the window. Raises Malformed when the peer overran it."""
        self.window -= size
        if self.window < 0:
            raise Malformed("more input than the window allows")

    def credit(self, size: int) -> None:
        """Give window back and say so."""
        self.window += size
        self.tell({"is": "credit", "bytes": size})
