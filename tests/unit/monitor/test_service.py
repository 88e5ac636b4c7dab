"""The patient monitor: what it takes in while it is alone."""

import os
import select
import signal
import time

import pytest

from atoll.monitor import service


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
