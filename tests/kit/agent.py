"""A keeper's guest of the tests' own making: the other end of its port, which says what a test wants said.

Holds: `Guest`. Does not hold: a machine: the port is a socket pair, the keeper a child.
"""

from __future__ import annotations

import json
import os
import socket

from atoll.base import errors
from atoll.guest import enter, wire
from atoll.guest import keeper as keepers
from atoll.guest.keeper import Keeper
from atoll.guest.starting import Started


class Guest:
    """The other end of a keeper's port; `serve` runs the keeper in a child, as it takes descriptors 0 to 2."""

    def __init__(self) -> None:
        self.port, theirs = socket.socketpair()
        self.control, control = socket.socketpair()
        console, self.console = socket.socketpair()
        self.end, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.out, out = os.pipe()
        source, self.input = os.pipe()
        self.last = os.memfd_create("last")
        self.pid = os.fork()
        if self.pid == 0:
            for ours in (self.port, self.control, self.console, self.end):
                ours.close()
            os.close(self.out)
            os.close(self.input)
            for number, fd in enumerate((source, out, out)):
                os.dup2(fd, number)
            self._keep(theirs, control, console, end)
        for one in (theirs, control, console, end):
            one.close()
        os.close(source)
        os.close(out)
        self.reader = wire.FrameReader(guest=False)
        self.heard: list[tuple[int, int, int, bytes]] = []
        self.port.settimeout(10)

    def _keep(self, port: socket.socket, control: socket.socket, console: socket.socket, end: socket.socket) -> None:
        code = 99
        try:
            door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            started = Started(
                pid=0, port=port, control=control, console=console.fileno(), door=door, links=(), restored=False
            )
            linux = {"namespaces": [{"type": "network"}]}
            config = {"stdin": True, "terminal": False, "setup": {}, "container": {"spec": {"linux": linux}}}
            one = Keeper(config, started, end)
            one._open_door = lambda: None  # type: ignore[method-assign]
            keepers.watch_signals(one, vmm=-1)
            try:
                code = one.serve()
                enter.leave_word(self.last, one.known)
            except wire.Malformed as error:
                code = keepers._failed(end, errors.Denied(f"rules: {error}"), self.last)
            except errors.AtollError as error:
                code = keepers._failed(end, error, self.last)
        finally:
            os._exit(code)

    def say(self, *frames: bytes) -> None:
        try:
            self.port.sendall(b"".join(frames))
        except OSError:
            pass

    def expect(self, kind: int) -> bytes:
        while True:
            for one in self.heard:
                if one[0] == kind:
                    self.heard.remove(one)
                    return one[3]
            self.heard += self.reader.feed(self.port.recv(1 << 16))

    def begin(self) -> None:
        """Up to a program that runs."""
        self.say(wire.word(wire.HELLO, {"v": 1}))
        assert len(json.loads(self.expect(wire.SETUP))["entropy"]) > 64
        self.say(wire.frame(wire.READY))
        self.expect(wire.RUN)
        self.say(wire.frame(wire.STARTED))
        assert self.end.recv(100) == b"", "the end of the socket says that the program runs"

    def last_word(self) -> dict[str, object]:
        """What the keeper left besides its exit code, taken once it has ended."""
        said = os.pread(self.last, 1 << 16, 0)
        os.close(self.last)
        return dict(json.loads(said or "{}"))

    def finish(self) -> int:
        """The keeper's exit code."""
        for one in (self.port, self.control, self.console):
            one.close()
        os.close(self.input)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
