"""The command's side: credit, errors, the end."""

from _socket import AF_UNIX, SOCK_STREAM, socketpair

import pytest

from atoll.base import errors
from atoll.monitor import client
from atoll.monitor.client import Attachment, Channel
from atoll.monitor.protocol import CONTROL, STDOUT, WINDOW, control, frame


@pytest.fixture
def ends():
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    return Attachment(ours), theirs


def test_credit_is_booked_and_not_shown(ends):
    attachment, monitor = ends
    attachment.send_stdin(b"x" * 1000)
    assert attachment.room == WINDOW - 1000
    monitor.send(control({"is": "credit", "bytes": 600}) + frame(STDOUT, b"out"))
    assert attachment.receive() == [(STDOUT, b"out")]
    assert attachment.room == WINDOW - 400
    with pytest.raises(errors.InvalidArgument):
        attachment.send_stdin(b"x" * WINDOW)


def test_expect_keeps_output_that_comes_before(ends):
    attachment, monitor = ends
    monitor.send(frame(STDOUT, b"early") + control({"is": "started", "pid": 4}) + frame(STDOUT, b"late"))
    assert attachment.expect("started")["pid"] == 4
    assert [attachment.read(), attachment.read()] == [(STDOUT, b"early"), (STDOUT, b"late")]


def test_expect_raises_the_error_told(ends):
    attachment, monitor = ends
    told = errors.CommandNotFound("no such program", hint="look again")
    monitor.send(control({"is": "error", "error": told.to_json()}))
    with pytest.raises(errors.CommandNotFound, match="no such program"):
        attachment.expect("started")


def test_a_monitor_that_goes_away_is_unavailable(ends):
    attachment, monitor = ends
    monitor.close()
    with pytest.raises(errors.Unavailable):
        attachment.expect("created")
    assert attachment.ended
    attachment.resize(1, 2)  # said into the void, without an error
    attachment.cleaned()


def test_the_exit_is_the_last_frame_though_the_monitor_stays(ends):
    attachment, monitor = ends
    monitor.send(control({"is": "exit", "exit": 3}))
    assert attachment.read()[0] == CONTROL
    assert attachment.read() is None
    assert attachment.ended
    monitor.close()


def test_a_monitor_that_breaks_the_framing_is_corrupt(ends):
    attachment, monitor = ends
    monitor.send(b"\x07garbage, all of it")
    with pytest.raises(errors.Corrupt):
        attachment.read()


def test_an_oversized_request_is_refused_here():
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    with pytest.raises(errors.InvalidArgument, match="environment"):
        Channel(ours)._ask({"x": "y" * (17 << 20)}, "created")
    assert theirs.recv(10) == b""


def test_keys_tell_stores_and_namespaces_apart(tmp_path):
    assert client.key("/a") == client.key("/a")
    assert client.key("/a") != client.key("/b")
    assert len(client.key("/a")) < 80


def test_the_caller_is_described():
    described = client.caller({"A": "B", "C": "D=E"})
    assert described.env == ("A=B", "C=D=E")
    assert len(described.rlimits) == client.RLIMITS
