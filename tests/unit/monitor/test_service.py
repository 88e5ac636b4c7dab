"""The patient monitor: what it takes in while it is alone."""

import os
import select
import signal
import socket
import time

import pytest

from atoll.monitor import monitor, service


@pytest.fixture
def waiting():
    """An init that sleeps, who knocks at its monitor's door, and the monitor's descriptors."""
    before = signal.getsignal(signal.SIGCHLD)
    init = os.fork()
    if init == 0:
        while True:
            time.sleep(60)
    door, knock = os.pipe()
    fds = {"door": door, "pidfd": os.pidfd_open(init)}
    yield init, knock, fds
    signal.signal(signal.SIGCHLD, before)
    try:
        signal.pidfd_send_signal(fds["pidfd"], signal.SIGKILL)
        os.waitpid(init, 0)
    except (ProcessLookupError, ChildProcessError):  # it has ended, and its monitor has reaped it
        pass
    for fd in (door, knock, fds["pidfd"]):
        os.close(fd)


def test_an_end_while_somebody_knocks_is_not_lost(waiting, monkeypatch):
    """The init ends in the very turn of the loop in which the door is seen: its status was reaped by the handler."""
    init, _, fds = waiting

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
            return [(fds["door"], select.POLLIN)]

    monkeypatch.setattr(service, "poll", Poll)
    status = service.alone("/nonexistent", init, fds)
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def test_a_knock_alone_asks_for_a_clerk(waiting):
    init, knock, fds = waiting
    os.write(knock, b"x")
    assert service.alone("/nonexistent", init, fds) is None
    assert os.waitpid(init, os.WNOHANG) == (0, 0), "it lives, and is still ours to reap"


@pytest.mark.parametrize(
    ("there", "started", "ends"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_an_init_that_nobody_can_start_any_more_is_ended(waiting, monkeypatch, tmp_path, there, started, ends):
    """Its run directory was removed while it waited; one that runs, or may yet be started, is left alone."""
    init, knock, fds = waiting
    ours, theirs = socket.socketpair()
    if not started:
        fds["sync"] = ours.fileno()

    def looked(run, fds, look=monitor.look_after):
        look(run, fds)
        if not ends:
            os.write(knock, b"x")

    monkeypatch.setattr(service.usage, "SAMPLE_MS", 1)
    monkeypatch.setattr(monitor, "look_after", looked)
    try:
        status = service.alone(f"{tmp_path}/{'' if there else 'gone'}", init, fds)
    finally:
        ours.close()
        theirs.close()
    assert (status is not None) is ends
    if status is not None:
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
