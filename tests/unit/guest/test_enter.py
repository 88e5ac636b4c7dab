"""Who stands for a process of a guest: its last word, as it was left or nothing, and its patience."""

import os
import signal
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.guest import enter


@pytest.fixture
def last(tmp_path):
    fd = os.open(tmp_path / enter.LAST, os.O_RDWR | os.O_CREAT, 0o600)
    yield fd
    os.close(fd)


def test_it_is_read_as_it_was_left(tmp_path, last):
    assert enter.last_word(str(tmp_path)) == (False, None, None)
    enter.leave_word(last, {"oom": True, "signal": 9, "error": "it said so", "is": "ended", "code": 137})
    assert enter.last_word(str(tmp_path)) == (True, 9, "it said so")


def test_without_a_file_or_a_word_there_is_none(tmp_path):
    enter.leave_word(-1, {"oom": True})
    assert enter.last_word(str(tmp_path)) == (False, None, None)


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text('{"oom": true}')
    (tmp_path / enter.LAST).symlink_to("elsewhere")
    assert enter.last_word(str(tmp_path)) == (False, None, None)


@pytest.mark.parametrize(
    ("said", "known"),
    [
        (b"", (False, None, None)),
        (b"[]", (False, None, None)),
        (b"[" * 20_000, (False, None, None)),
        (b"\xff\x00", (False, None, None)),
        (b'{"oom": 1, "error": 7}', (False, None, None)),
        (b'{"oom": "yes", "error": ["x"], "signal": true}', (False, None, None)),
        (b'{"signal": 65}', (False, None, None)),
        (b'{"signal": -9}', (False, None, None)),
        (b'{"oom": true, "error": ""}', (True, None, None)),
        (b'{"error": "a\\u001b[2Jb\\nc"}', (False, None, "a?[2Jb?c")),
        (b'{"error": "' + b"x" * 9000 + b'"}', (False, None, "x" * enter.WHY_MAX)),
        (b'{"error": "' + b"x" * (1 << 20) + b'"}', (False, None, None)),
    ],
)
def test_no_more_is_believed_than_a_truth_value_and_a_line(tmp_path, last, said, known):
    os.write(last, said)
    assert enter.last_word(str(tmp_path)) == known


@given(said=st.binary(max_size=200))
def test_noise_is_no_word(tmp_path_factory, said):
    place = tmp_path_factory.mktemp("noise")
    (place / enter.LAST).write_bytes(said)
    oom, signal, why = enter.last_word(str(place))
    assert oom in (True, False)
    assert signal is None or 1 <= signal <= 64
    assert why is None or why.isprintable()


@pytest.mark.parametrize("first", [b"", b'{"is":"started"}'])
def test_a_guest_that_never_answers_is_not_waited_for(first: bytes, monkeypatch: pytest.MonkeyPatch):
    """But a program that runs may take as long as it likes to end."""
    monkeypatch.setattr(enter, "ANSWER_SECONDS", 0.2)
    ours, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper, door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if first:
        keeper.send(first)
        threading.Timer(0.6, keeper.send, [b'{"is":"ended","code":3}']).start()
    before = {number: signal.getsignal(number) for number in enter.FORWARDED}
    try:
        with ours, end, keeper, door:
            code = enter.serve(end, door)
            said = b"" if first else ours.recv(1 << 16)
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
    assert (code, b"timeout" in said) == ((3, False) if first else (125, True)), said
