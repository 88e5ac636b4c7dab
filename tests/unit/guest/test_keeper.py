"""A keeper against guests of every kind: no machine is needed, the port is a socket pair."""

import json
import os
import socket
import threading
import time

import pytest

from atoll.base import errors
from atoll.guest import keeper as keepers
from atoll.guest import wire
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
                pid=0, port=port, control=control, console=console.fileno(), door=door, link=None, restored=False
            )
            linux = {"namespaces": [{"type": "network"}]}
            config = {"stdin": True, "terminal": False, "setup": {}, "container": {"spec": {"linux": linux}}}
            one = Keeper(config, started, end)
            one._open_door = lambda: None  # type: ignore[method-assign]
            try:
                code = one.serve()
            except wire.Malformed as error:
                code = keepers._failed(end, errors.Denied(f"rules: {error}"))
            except errors.AtollError as error:
                code = keepers._failed(end, error)
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

    def finish(self) -> int:
        """The keeper's exit code."""
        for one in (self.port, self.control, self.console):
            one.close()
        os.close(self.input)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def guest(monkeypatch):
    monkeypatch.setattr(wire, "HELLO_SECONDS", 0.5)
    monkeypatch.setattr(wire, "ANSWER_SECONDS", 0.5)
    one = Guest()
    yield one
    os.close(one.out)


def test_a_life(guest):
    guest.begin()
    os.write(guest.input, b"typed")
    assert guest.expect(wire.INPUT) == b"typed"
    guest.say(wire.frame(wire.OUTPUT, 0, b"said", 1), wire.word(wire.ENDED, {"code": 7, "signal": None}))
    assert os.read(guest.out, 100) == b"said"
    assert guest.finish() == 7


def test_a_program_that_is_not_there(guest):
    guest.say(wire.word(wire.HELLO, {"v": 1}))
    guest.expect(wire.SETUP)
    guest.say(wire.frame(wire.READY))
    guest.expect(wire.RUN)
    guest.say(wire.word(wire.FAILED, {"error": errors.CommandNotFound("no such").to_json()}))
    assert json.loads(guest.end.recv(1000))["error"]["kind"] == "command-not-found"
    assert guest.finish() == 127


LIES = {
    "two hellos": [wire.word(wire.HELLO, {"v": 1})],
    "ready twice": [wire.frame(wire.READY)],
    "started twice": [wire.frame(wire.STARTED)],
    "a session that is not": [wire.frame(wire.OUTPUT, 7, b"x", 1)],
    "the host's own words": [wire.frame(wire.RUN, 0, b"{}")],
    "a length beyond all": [wire.HEADER.pack(wire.OUTPUT, 1, 0, 1 << 31)],
    "more than the window": [wire.frame(wire.OUTPUT, 0, bytes(wire.DATA_MAX), 1)] * 40,
    "credit for nothing": [wire.credit(0, 0, 1)],
    "a credit of three bytes": [wire.frame(wire.CREDIT, 0, b"abc")],
    "input as output": [wire.frame(wire.OUTPUT, 0, b"x", 0)],
    "an exit code of a thousand": [wire.word(wire.ENDED, {"code": 1000})],
    "an exit code of true": [wire.word(wire.ENDED, {"code": True})],
    "held unasked": [wire.word(wire.HELD, {})],
    "resumed unasked": [wire.word(wire.RESUMED, {"input": 0})],
    "no exit code": [wire.word(wire.ENDED, {})],
    "an end that is no object": [wire.frame(wire.ENDED, 0, b"[[[[")],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_guest_that_lies_is_ended(guest, lie):
    guest.begin()
    guest.say(*LIES[lie])
    assert guest.finish() == 137


@pytest.mark.parametrize("step", ["hello", "ready", "started"])
def test_a_guest_that_does_not_answer(guest, step):
    began = time.monotonic()
    if step != "hello":
        guest.say(wire.word(wire.HELLO, {"v": 1}))
        guest.expect(wire.SETUP)
    if step == "started":
        guest.say(wire.frame(wire.READY))
        guest.expect(wire.RUN)
    assert json.loads(guest.end.recv(1000))["error"]["kind"] == "timeout"
    assert time.monotonic() - began < 30
    assert guest.finish() == 125


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_machine_that_ends(guest, step):
    if step:
        guest.begin()
    if step == 2:
        guest.say(wire.frame(wire.OUTPUT, 0, b"half", 1)[:-2])
    guest.port.close()
    assert guest.finish() == (137 if step else 125)


def test_noise(guest, rng):
    guest.begin()
    sender = threading.Thread(target=lambda: guest.say(*[rng.randbytes(4096) for _ in range(100)]), daemon=True)
    sender.start()
    sender.join(10)
    assert guest.finish() == 137


def test_a_flood_to_a_reader_that_does_not_read_is_held_back_by_the_window(guest):
    """What is beyond it waits in the guest; signals still pass."""
    guest.begin()
    guest.say(*[wire.frame(wire.OUTPUT, 0, bytes(wire.DATA_MAX), 1) for _ in range(wire.WINDOW // wire.DATA_MAX)])
    given = 0
    while given < 65536:  # what the pipe takes, and no more
        given += wire.parse_credit(guest.expect(wire.CREDIT))
    os.write(guest.input, b"still heard")
    assert guest.expect(wire.INPUT) == b"still heard"
    os.kill(guest.pid, 9)
    assert guest.finish() == -9
