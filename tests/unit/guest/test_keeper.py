"""A keeper against guests of every kind: no machine is needed, the port is a socket pair."""

import json
import os
import threading
import time

import pytest

from atoll.base import errors
from atoll.guest import wire
from kit.agent import Guest


@pytest.fixture
def guest(monkeypatch):
    monkeypatch.setattr(wire, "HELLO_SECONDS", 0.5)
    monkeypatch.setattr(wire, "ANSWER_SECONDS", 0.5)
    one = Guest()
    yield one
    os.close(one.out)


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({"code": 0, "oom": False}, {}),
        ({"code": 0}, {}),
        ({"code": 3, "signal": None, "oom": True}, {"oom": True}),
        ({"code": 137, "signal": 9, "oom": True}, {"oom": True, "signal": 9}),
        ({"code": 143, "signal": 15, "oom": False}, {"signal": 15}),
        ({"code": 1, "signal": 9, "oom": True}, {"oom": True}),
        ({"code": 129, "signal": True, "oom": 1}, {}),
        ({"code": 0, "signal": ["x"], "oom": "yes"}, {}),
    ],
)
def test_what_the_guest_says_of_an_end_is_a_truth_value_and_a_signal(guest, told, word):
    guest.begin()
    guest.say(wire.word(wire.ENDED, told))
    assert guest.finish() == told["code"]
    assert guest.last_word() == word


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
    assert str(guest.last_word()["error"]).startswith("rules: ")


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


def test_output_that_nobody_reads_is_no_signal_to_the_container(guest):
    """The keeper's own SIGPIPE; one that was sent passes."""
    guest.begin()
    reader, guest.out = guest.out, os.open("/dev/null", os.O_RDONLY)
    os.close(reader)
    for _ in range(3):
        guest.say(wire.frame(wire.OUTPUT, 0, b"for nobody", 1))
        assert wire.parse_credit(guest.expect(wire.CREDIT)) == 10
    os.kill(guest.pid, 10)
    assert guest.expect(wire.SIGNAL) == b"\x0a"
    os.kill(guest.pid, 13)
    assert guest.expect(wire.SIGNAL) == b"\x0d"
    guest.say(wire.word(wire.ENDED, {"code": 0}))
    assert guest.finish() == 0
