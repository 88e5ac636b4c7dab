import os
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base.errors import InvalidArgument
from atoll.cli import terminal


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("a,b", b"ab"),
        ("ctrl-@,ctrl-[,ctrl-_", b"\x00\x1b\x1f"),
        ("", b""),
        ("CTRL-A", b"\x01"),
    ],
)
def test_detach_keys_are_read_as_docker_reads_them(text, keys):
    assert terminal.parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-aa", "xy", "ctrl-1", ",", "a,,b"])
def test_wrong_detach_keys(text):
    with pytest.raises(InvalidArgument, match="detach key"):
        terminal.parse_detach_keys(text)


@given(st.lists(st.binary(max_size=5)), st.sampled_from([b"\x10\x11", b"ab", b"aab", b"aa", b"abab", b"a", b""]))
def test_detach_keys_against_a_plain_search(chunks, keys):
    typed = b"".join(bytes(b"ab\x10\x11x"[c % 5] for c in chunk) for chunk in chunks)
    found = typed.find(keys) if keys else -1
    machine, out, left = terminal.DetachKeys(keys), b"", False
    for position in range(len(typed)):
        passed, left = machine.feed(typed[position : position + 1])
        out += passed
        if left:
            break
    assert left == (found >= 0)
    if left:
        assert out == typed[:found]
    else:
        # What may still become the sequence is held back, nothing else.
        assert typed.startswith(out)
        assert keys.startswith(typed[len(out) :])


def test_raw_terminal_restores_what_was_there():
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    with terminal.RawTerminal(slave):
        during = termios.tcgetattr(slave)
        assert not during[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert termios.tcgetattr(slave) == before
    with pytest.raises(ValueError, match="x"), terminal.RawTerminal(slave):
        raise ValueError("x")
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_size_and_is_terminal():
    master, slave = os.openpty()
    assert terminal.is_terminal(slave)
    assert terminal.size(slave) is None  # a new pair knows no size
    termios.tcsetwinsize(slave, (30, 100))
    assert terminal.size(slave) == (30, 100)
    os.close(master)
    os.close(slave)
    assert not terminal.is_terminal(slave)
    assert terminal.size(slave) is None
