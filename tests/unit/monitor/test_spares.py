"""Spares, with forks that only echo: made, handed a connection, killed, let go of."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from atoll.linux import unix
from atoll.monitor import spares
from atoll.monitor.spares import COMMAND, INIT, MONITOR, Spare, Spares


def echo(kind: int, gate: Any) -> None:
    """What a fork does: answer on its connection with its kind, then end."""
    try:
        os.closerange(3, gate.fileno())
        os.closerange(gate.fileno() + 1, 1 << 16)
        if kind == spares.MAKER:
            kind, (is_gate, fd) = MONITOR, spares.make_siblings(gate)
            if not is_gate:
                if fd >= 0:
                    os.write(fd, b"cloned")
                return
            gate = socket.socket(fileno=fd)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        connection = Spare(gate, theirs, Spares(echo)).await_connection()
        ours.close()
        if connection is not None:
            os.write(connection, b"%d" % kind)
    finally:
        os._exit(0)


@pytest.fixture
def some() -> Iterator[Spares]:
    """One of each kind, made."""
    made = Spares(echo)
    made.begin([MONITOR, COMMAND])
    made.look()
    pids = [pid for pid, _ in (*made.gates.values(), made.maker)]
    yield made
    made.let_go()
    for pid in pids:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            continue


def test_each_serves_one_connection_of_its_kind(some: Spares) -> None:
    for kind in (COMMAND, MONITOR):
        ours, theirs = socket.socketpair()
        pid = some.gates[kind][0]
        assert some.hand(kind, theirs.fileno()) == pid
        theirs.close()
        assert ours.recv(10) == b"%d" % kind
        assert ours.recv(10) == b""
        assert some.hand(kind, ours.fileno()) == 0  # there was one
        ours.close()


def test_one_that_was_killed_is_not_missed(some: Spares) -> None:
    pid = some.gates[MONITOR][0]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    ours, theirs = socket.socketpair()
    assert some.hand(MONITOR, theirs.fileno()) == 0
    theirs.close()
    assert ours.recv(10) == b""  # nobody else holds the other end
    ours.close()


def test_one_that_ends_by_itself_is_not_replaced_until_somebody_comes(some: Spares) -> None:
    pid = some.gates[COMMAND][0]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    some.ended(pid)
    assert not some.gates
    assert some.wait_ms() == -1
    some.look()
    assert not some.gates
    some.hand(COMMAND, -1)
    assert some.wait_ms() > 0


def test_a_monitors_spare_is_made_by_the_maker_and_our_child(some: Spares) -> None:
    assert some.maker is not None
    maker, _ = some.maker
    pid = some.gates[MONITOR][0]
    with open(f"/proc/{pid}/stat") as stream:
        assert int(stream.read().rpartition(")")[2].split()[1]) == os.getpid()
    some.gates.pop(MONITOR)[1].close()
    assert os.waitpid(pid, 0)[0] == pid
    some.look()
    assert some.maker[0] == maker
    assert some.gates[MONITOR][0] != pid


def test_a_monitor_without_a_spare_comes_from_the_maker(some: Spares) -> None:
    ours, theirs = socket.socketpair()
    pid = some.clone(theirs.fileno())
    theirs.close()
    assert ours.recv(10) == b"cloned"
    assert os.waitpid(pid, 0)[0] == pid
    assert ours.recv(10) == b""
    ours.close()


def test_a_maker_that_was_killed(some: Spares) -> None:
    assert some.maker is not None
    maker, _ = some.maker
    os.kill(maker, signal.SIGKILL)
    os.waitpid(maker, 0)
    some.gates.pop(MONITOR)[1].close()
    some.look()  # none to be had
    assert some.clone(0) == 0
    assert not some.gates
    assert some.maker is None
    some.begin([MONITOR])
    some.look()
    ours, theirs = socket.socketpair()
    assert some.hand(MONITOR, theirs.fileno())
    theirs.close()
    assert ours.recv(10) == b"%d" % MONITOR
    ours.close()
    some.let_go()
    with pytest.raises(ChildProcessError):
        while os.waitpid(-1, 0):
            pass


def test_a_maker_that_takes_up_nothing(some: Spares, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed, and the connection is nobody else's: the spawner may serve it itself."""
    monkeypatch.setattr(spares, "TAKEN_SECONDS", 0.1)
    assert some.maker is not None
    maker, _ = some.maker
    os.kill(maker, signal.SIGSTOP)
    os.waitid(os.P_PID, maker, os.WSTOPPED | os.WNOWAIT)
    ours, theirs = socket.socketpair()
    assert some.clone(theirs.fileno()) == 0
    assert some.maker is None
    assert os.WTERMSIG(os.waitpid(maker, 0)[1]) == signal.SIGKILL
    theirs.close()
    assert ours.recv(10) == b""
    ours.close()


def test_a_maker_that_is_slow(some: Spares, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the request already: then its answer is waited for."""
    monkeypatch.setattr(spares, "TAKEN_SECONDS", 0.0)
    monkeypatch.setattr(unix, "unread", lambda fd: False)
    assert some.maker is not None
    ours, theirs = socket.socketpair()
    pid = some.clone(theirs.fileno())
    theirs.close()
    assert pid > 0
    assert ours.recv(10) == b"cloned"
    ours.close()
    assert os.waitpid(pid, 0)[0] == pid


def test_a_new_lesson_takes_a_new_maker(some: Spares) -> None:
    assert some.maker is not None
    maker, _ = some.maker
    some.learned(b"p%c" % INIT)
    assert some.maker is None
    assert os.waitpid(maker, 0)[0] == maker


def test_they_end_when_let_go(some: Spares) -> None:
    pids = [pid for pid, _ in some.gates.values()]
    some.let_go()
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]


def test_nobody_came_for_long(some: Spares) -> None:
    some.used -= spares.KEPT_SECONDS
    some.due = 0.0
    assert some.wait_ms() == 0
    some.look()
    assert not some.gates
    assert some.wait_ms() == -1


def test_the_end_of_a_run_makes_the_next_ready() -> None:
    made = Spares(echo)
    made.kinds = [COMMAND]
    made.hand(COMMAND, -1)
    assert 50 < made.wait_ms() <= 1000 * spares.DELAY_SECONDS + 1
    made.ended(12345)
    assert made.wait_ms() <= 1000 * spares.SOON_SECONDS + 1


def test_a_lesson(some: Spares) -> None:
    """What one has written to is copied by the next before it is asked, until nothing new is learnt."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.settimeout(10)
    gate, other = socket.socketpair()
    known = Spares(echo)
    pid = os.fork()
    if pid == 0:
        one = Spare(gate, theirs, known)
        one.warm(INIT)
        garbage = [bytearray(4096) for _ in range(2 * spares.FAULTS_MOST)]
        one.learn(INIT)
        os._exit(len(garbage) & 0)
    os.waitpid(pid, 0)
    known.learned(ours.recv(1 << 15))
    assert known.lessons == {INIT: 1}
    assert len(known.pages[INIT]) >= 8
    assert len(known.pages[INIT]) % 8 == 0
    known.lessons[INIT] = spares.LESSONS_MOST
    one = Spare(gate, theirs, known)
    one._faults = -(10**6)
    one.learn(INIT)
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        ours.recv(1 << 15)
    for each in (ours, theirs, gate, other):
        each.close()
