"""A keeper that takes a saved machine over: its first word, and guests that lie then."""

from __future__ import annotations

import json
import os
import socket

import pytest

from atoll.base import errors
from atoll.guest import keeper as keepers
from atoll.guest import wire
from atoll.guest.keeper import Keeper
from atoll.guest.starting import Started


class Copy:
    """A guest that was saved, whose keeper is a fork of ours; we are the guest."""

    def __init__(self) -> None:
        self.port, theirs = socket.socketpair()
        self.control, control = socket.socketpair()
        self.end, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        source, self.input = os.pipe()
        self.out, sink = os.pipe()
        console, self.console = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for number, fd in enumerate((source, sink, sink)):
                os.dup2(fd, number)
            for ours in (self.port, self.control, self.end):
                ours.close()
            os.close(self.input)
            self._keep(theirs, control, console, end)
        for one in (theirs, control, end):
            one.close()
        for fd in (source, sink, console):
            os.close(fd)
        self.reader = wire.FrameReader(guest=False)
        self.port.settimeout(30)

    def _keep(self, port: socket.socket, control: socket.socket, console: int, end: socket.socket) -> None:
        code = 99
        try:
            door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            started = Started(pid=0, port=port, control=control, console=console, door=door, links=(), restored=True)
            spec = {"hostname": "copy", "linux": {}}
            setup = {"hostname": "short", "files": {}, "filters": {"large": ""}}
            config = {"stdin": True, "terminal": False, "resumed": True, "setup": setup, "container": {"spec": spec}}
            one = Keeper(config, started, end)
            one._open_door = lambda: None  # type: ignore[method-assign]
            try:
                code = one.serve()
            except wire.Malformed as error:
                code = keepers._failed(end, errors.Denied(f"rules: {error}"))
        finally:
            os._exit(code)

    def hear(self) -> tuple[int, bytes]:
        while True:
            for kind, _, _, payload in self.reader.feed(self.port.recv(1 << 16)):
                return kind, payload

    def finish(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        for one in (self.port, self.control, self.end):
            one.close()
        for fd in (self.input, self.out, self.console):
            os.close(fd)
        return code


@pytest.fixture
def copy() -> Copy:
    return Copy()


def test_a_copy_is_told_all_that_is_its_own(copy: Copy):
    kind, payload = copy.hear()
    told = json.loads(payload)
    assert kind == wire.RESUME
    assert told["copy"] is True
    assert told["hostname"] == "copy"
    assert len(told["entropy"]) > 64
    assert told["time"] > 0
    assert "filters" not in told
    copy.port.sendall(wire.word(wire.RESUMED, {"input": 5}))
    assert copy.end.recv(100) == b"", "the end of the socket says that the program runs"
    copy.port.sendall(wire.credit(0, 0, 5) + wire.frame(wire.OUTPUT, 0, b"said", 1))
    assert os.read(copy.out, 100) == b"said"
    copy.port.sendall(wire.word(wire.ENDED, {"code": 7, "signal": None}))
    assert copy.finish() == 7


@pytest.mark.parametrize(
    "lie",
    [
        wire.word(wire.RESUMED, {"input": wire.WINDOW + 1}),
        wire.word(wire.RESUMED, {"input": True}),
        wire.word(wire.RESUMED, {}),
        wire.word(wire.HELD, {}),
        wire.word(wire.HELLO, {"v": 1}),
        wire.frame(wire.OUTPUT, 0, b"x", 1),
        wire.word(wire.RESUMED, {"input": 0}) * 2,
        wire.word(wire.RESUMED, {"input": 5}) + wire.credit(0, 0, 6),
    ],
)
def test_a_copy_that_lies_is_killed(copy: Copy, lie: bytes):
    copy.hear()
    copy.port.sendall(lie)
    assert copy.finish() in (125, 137)
