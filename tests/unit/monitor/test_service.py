"""The patient monitor: what it takes in while it is alone."""

import os
import select
import signal
import socket
import time

import pytest

from atoll.monitor import monitor, service


def test_an_end_while_somebody_knocks_is_not_lost(monkeypatch):
    """The init ends in the very turn of the loop in which the door is seen: its status was reaped by the handler."""
    before = signal.getsignal(signal.SIGCHLD)
    init = os.fork()
    if init == 0:
        while True:
            time.sleep(60)
    door, knock = os.pipe()
    fds = {"door": door, "pidfd": os.pidfd_open(init)}

    class Poll:
        def __init__(self):
            self.known = []

        def register(self, fd, events):
            self.known.append(fd)

        def poll(self, timeout):
            os.kill(init, signal.SIGKILL)
            deadline = time.monotonic() + 10
            while os.path.exists(f"/proc/{init}") and time.monotonic() < deadline:
                time.sleep(0.01)  # until the handler has reaped it
            return [(door, select.POLLIN)]

    monkeypatch.setattr(service, "poll", Poll)
    try:
        status = service.alone("/nonexistent", init, fds)
    finally:
        signal.signal(signal.SIGCHLD, before)
        for fd in (door, knock, fds["pidfd"]):
            os.close(fd)
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def test_a_knock_alone_asks_for_a_clerk():
    before = signal.getsignal(signal.SIGCHLD)
    init = os.fork()
    if init == 0:
        while True:
            time.sleep(60)
    door, knock = os.pipe()
    fds = {"door": door, "pidfd": os.pidfd_open(init)}
    os.write(knock, b"x")
    try:
        assert service.alone("/nonexistent", init, fds) is None
    finally:
        signal.signal(signal.SIGCHLD, before)
        os.kill(init, signal.SIGKILL)
        os.waitpid(init, 0)
        for fd in (door, knock, fds["pidfd"]):
            os.close(fd)
    with pytest.raises(ChildProcessError):
        os.waitpid(init, 0)


@pytest.mark.parametrize(
    ("there", "started", "ends"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_an_init_that_nobody_can_start_any_more_is_ended(monkeypatch, tmp_path, there, started, ends):
    """Its run directory was removed while it waited; one that runs, or may yet be started, is left alone."""
    before = signal.getsignal(signal.SIGCHLD)
    init = os.fork()
    if init == 0:
        while True:
            time.sleep(60)
    ours, theirs = socket.socketpair()
    door, knock = os.pipe()
    fds = {"pidfd": os.pidfd_open(init), "door": door, "sync": ours.fileno()}
    if started:
        fds.pop("sync")

    def looked(run, fds, look=monitor.look_after):
        look(run, fds)
        if not ends:
            os.write(knock, b"x")

    monkeypatch.setattr(service.usage, "SAMPLE_MS", 1)
    monkeypatch.setattr(monitor, "look_after", looked)
    try:
        status = service.alone(f"{tmp_path}/{'' if there else 'gone'}", init, fds)
    finally:
        signal.signal(signal.SIGCHLD, before)
        if not ends:
            os.kill(init, signal.SIGKILL)
            os.waitpid(init, 0)
        for fd in (door, knock, fds["pidfd"]):
            os.close(fd)
        ours.close()
        theirs.close()
    assert (status is not None) is ends
    if status is not None:
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
