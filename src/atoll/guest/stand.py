"""One process of the guest, as the keeper has it: streams here, a session there.

Holds: `Stand`, windows in both directions, `FirstStand` (the container's own process), `DoorStand` (exec's). Does not
hold: the channel (`keeper.py`).
Bounds: WINDOW bytes of output a stream, counted; a guest that sends more breaks the rules (`wire.Malformed`). Input
is read only as far as the guest has room for it.
"""

from __future__ import annotations

import os
import termios

from atoll.base import errors, jsontext
from atoll.base.loop import POLLIN, POLLOUT
from atoll.guest import wire
from atoll.linux import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

    from atoll.guest.keeper import Keeper

WINCH = 28
CODES = {"command-not-found": 127, "command-not-executable": 126}


class Stand:
    """`fds` are its standard descriptors, the stand's to close. `gone`: it has ended, and all of that was told;
    `known` is what the guest says of the end besides its code."""

    def __init__(
        self, keeper: Keeper, number: int, fds: tuple[int, int, int], *, stdin: bool, terminal: bool
    ) -> None:
        self.keeper, self.number, self.fds, self.terminal = keeper, number, fds, terminal
        self.gone = False
        self._input = fds[0] if stdin or terminal else -1
        self._room = wire.WINDOW
        self._owed = {1: 0, 2: 0}
        self._waiting = {1: bytearray(), 2: bytearray()}
        self._started = False
        self._ended: int | None = None
        self.known: dict[str, Any] = {}

    def begin(self) -> None:
        """It was asked for: the streams flow from now on. Raises OSError."""
        for fd in self.fds:
            os.set_blocking(fd, False)
        if self.terminal:
            self._make_raw()
            self.resize()
        if self._input >= 0:
            self.keeper.loop.watch(self._input, POLLIN, lambda _: self._read())

    @property
    def started(self) -> bool:
        """Whether its program was executed, and has not ended."""
        return self._started and self._ended is None

    def go_on(self, taken: int) -> None:
        """It runs already, in a machine that was saved: `taken` bytes of its input wait there."""
        self._started = True
        self._room = wire.WINDOW - taken
        self.on_started()

    def end(self, code: int) -> None:
        """It ends with its machine; output that came is still written. One that has ended is fine."""
        if self._ended is None:
            self._finish(code)

    def _make_raw(self) -> None:
        """The guest's terminal does what a terminal does; this one carries bytes (cfmakeraw, termios(3))."""
        mode = termios.tcgetattr(self.fds[0])
        mode[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        mode[1] &= ~termios.OPOST
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(self.fds[0], termios.TCSANOW, mode)

    def resize(self) -> None:
        """The terminal's size, as it is now."""
        rows, columns = tty.window_size(self.fds[0])
        if rows and columns:
            size = rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
            self.keeper.say(wire.frame(wire.RESIZE, self.number, size))

    def signal(self, number: int) -> None:
        """Pass a signal on; a change of the terminal's size comes as one."""
        if self.terminal and number == WINCH:
            self.resize()
        else:
            self.keeper.say(wire.frame(wire.SIGNAL, self.number, bytes([number])))

    # -- input

    def _read(self) -> None:
        if not self._room:
            self.keeper.loop.forget(self._input)
            return
        try:
            data = os.read(self._input, min(self._room, wire.DATA_MAX))
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal's other end has gone
            data = b""
        if data:
            self._room -= len(data)
            self.keeper.say(wire.frame(wire.INPUT, self.number, data))
            return
        self.keeper.loop.forget(self._input)
        self._input = -1
        self.keeper.say(wire.frame(wire.INPUT_END, self.number))

    # -- what the guest says

    def heard(self, kind: int, stream: int, payload: bytes) -> None:
        """One frame of its session. Raises Malformed."""
        if kind == wire.OUTPUT:
            self._output(stream, payload)
        elif kind == wire.CREDIT:
            self._credit(wire.parse_credit(payload))
        elif kind == wire.STARTED and not self._started:
            self._started = True
            self.on_started()
        elif kind == wire.FAILED and not self._started and self._ended is None:
            error = wire.parse_error(payload)
            self.on_failed(error)
            self._finish(CODES.get(error.kind, 125))
        elif kind == wire.ENDED and self._ended is None:
            told = wire.parse(payload)
            code = told.get("code")
            if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 255:
                raise wire.Malformed(f"an exit code of {str(code)[:40]!r}")
            by = told.get("signal")
            self.known = {
                "oom": told.get("oom") is True,
                "signal": by if type(by) is int and code == 128 + by else None,
            }
            self._finish(code)
        else:
            raise wire.Malformed(f"a frame of kind {kind} out of order")

    def _credit(self, count: int) -> None:
        if self._room + count > wire.WINDOW:
            raise wire.Malformed("more input taken than was given")
        self._room += count
        if self._input >= 0 and count:
            self.keeper.loop.watch(self._input, POLLIN, lambda _: self._read())

    def _output(self, stream: int, payload: bytes) -> None:
        if stream not in (1, 2) or self._ended is not None:
            raise wire.Malformed(f"output of stream {stream}")
        self._owed[stream] += len(payload)
        if self._owed[stream] > wire.WINDOW:
            raise wire.Malformed("more output than was asked for")
        self._waiting[stream] += payload
        self._write(stream)

    def _write(self, stream: int) -> None:
        fd, waiting = self.fds[stream], self._waiting[stream]
        try:
            while waiting:
                count = os.write(fd, waiting)
                del waiting[:count]
                self._owed[stream] -= count
                self.keeper.say(wire.credit(self.number, stream, count))
        except BlockingIOError:
            self.keeper.loop.watch(fd, POLLOUT, lambda _: self._write(stream))
            return
        except OSError as error:  # nobody will read it any more
            self.keeper.met_nobody(error)
            count = len(waiting)
            waiting.clear()
            self._owed[stream] -= count
            self.keeper.say(wire.credit(self.number, stream, count))
        if fd != self._input:
            self.keeper.loop.forget(fd)
        self._settle()

    # -- the end

    def _finish(self, code: int) -> None:
        self._ended = code
        self._settle()

    def _settle(self) -> None:
        """Once its output has been taken it is gone."""
        if self._ended is None or self.gone or any(self._waiting.values()):
            return
        self.gone = True
        for fd in self.fds:
            self.keeper.loop.forget(fd)
        self.on_ended(self._ended)

    def on_started(self) -> None:
        """The program was executed."""

    def on_failed(self, error: errors.AtollError) -> None:
        """It was not."""

    def on_ended(self, code: int) -> None:
        """All of it has ended."""


class FirstStand(Stand):
    """The container's own: `end` is where an init says how it went, the keeper's end is its end."""

    def __init__(self, keeper: Keeper, end: socket, *, stdin: bool, terminal: bool) -> None:
        super().__init__(keeper, wire.FIRST, (0, 1, 2), stdin=stdin, terminal=terminal)
        self._end = end

    def on_started(self) -> None:
        """The end of the socket says so."""
        self._end.close()

    def on_failed(self, error: errors.AtollError) -> None:
        """In the words of an init."""
        tell(self._end, {"error": error.to_json()})

    def on_ended(self, code: int) -> None:
        """So does the keeper."""
        self.keeper.code, self.keeper.known = code, self.known


class DoorStand(Stand):
    """One that came in by the door (`enter.py`): told of by messages on `peer`, whose end is its own."""

    def __init__(
        self, keeper: Keeper, number: int, fds: tuple[int, int, int], peer: socket, *, stdin: bool, terminal: bool
    ) -> None:
        super().__init__(keeper, number, fds, stdin=stdin, terminal=terminal)
        self._peer = peer
        keeper.loop.watch(peer.fileno(), POLLIN, lambda _: self._told())

    def _told(self) -> None:
        """A signal's number; or it was killed, and so is what it stands for."""
        try:
            word = self._peer.recv(16)
        except OSError:
            word = b""
        if word:
            self.signal(int(word) & 0x7F)
        else:
            self.keeper.loop.forget(self._peer.fileno())
            self.keeper.say(wire.frame(wire.SIGNAL, self.number, b"\x09"))

    def on_started(self) -> None:
        """Tell."""
        tell(self._peer, {"is": "started"})

    def on_failed(self, error: errors.AtollError) -> None:
        """Tell."""
        tell(self._peer, {"is": "failed", "error": error.to_json()})

    def on_ended(self, code: int) -> None:
        """Tell, and let go of its streams."""
        tell(self._peer, {**self.known, "is": "ended", "code": code})
        self.keeper.loop.forget(self._peer.fileno())
        self._peer.close()
        for fd in self.fds:
            os.close(fd)


def tell(peer: socket, message: dict[str, Any]) -> None:
    """One message; whoever has gone need not be told."""
    from _socket import MSG_DONTWAIT, MSG_NOSIGNAL

    try:
        peer.send(jsontext.dumps(message).encode(), MSG_NOSIGNAL | MSG_DONTWAIT)
    except OSError:
        pass
