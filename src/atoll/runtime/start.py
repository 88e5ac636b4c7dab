"""start: let a created container run its program."""

from __future__ import annotations

import errno
import os

from atoll.base import errors, jsontext
from atoll.runtime import state

_WAIT_MS = 10_000
_ROUNDS = 12
"""How often an init that is busy still is waited for so long: where hundreds start at once, each has little of a
processor."""


def start(run: str, *, wait: bool = False) -> None:
    """Open the start fifo that the init waits on. Returns when the init has been released; with `wait` when its
    program was executed and the poststart hooks have run.

    Raises the error of a program that could not be executed (with `wait`), NotFound, or FailedPrecondition for a
    container that is not in the state "created".
    """
    record = state.read(run)
    path = f"{run}/{state.FIFO}"
    # Held before the fifo is opened: that releases the init, which may have ended a moment later.
    pidfd = state.open_init(record)
    if pidfd is None:
        raise errors.FailedPrecondition(f"cannot start container {record.id}: it is {state.STOPPED}")
    try:
        # Non-blocking: should the init die while we look, nobody would ever open the other end.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _await_byte(fd, pidfd, record)
            os.unlink(path)
            if wait:
                _await_program(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise errors.FailedPrecondition(f"cannot start container {record.id}: it was started already") from None
    finally:
        os.close(pidfd)
    if wait and record.hooks is not None and record.hooks.get("poststart"):
        _run_poststart(run, record)


def _await_byte(fd: int, pidfd: int, record: state.State) -> None:
    import select

    name, rounds = record.id, 0
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    poller.register(pidfd, select.POLLIN)
    while True:
        ready = dict(poller.poll(_WAIT_MS))
        if not ready and rounds < _ROUNDS and _is_ours(record.pid):
            rounds += 1
            continue
        if not ready:  # no writer: a `start` that was killed half-way had released the init
            raise errors.FailedPrecondition(f"cannot start container {name}: it does not wait to be started")
        if fd in ready:
            try:
                if os.read(fd, 1):
                    return
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
        if pidfd in ready:
            raise errors.FailedPrecondition(f"cannot start container {name}: its init has ended")


def _is_ours(pid: int) -> bool:
    """Whether the init executes what we do: it has not come to the fifo yet. False where that is not to be told."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/exe"), os.stat("/proc/self/exe"))
    except OSError:
        return False


def _await_program(fd: int) -> None:
    """Read on: end of file when execve has closed the init's end, or an error first. Raises that error."""
    os.set_blocking(fd, True)
    data = b""
    while chunk := os.read(fd, 4096):
        data += chunk
    if data:
        raise errors.from_json(jsontext.loads(data).get("error"))


def _run_poststart(run: str, record: state.State) -> None:
    """If one fails the container is stopped, and its words are the error (runtime.md, step 10)."""
    from atoll.linux import process
    from atoll.runtime import hooks, kill

    try:
        hooks.run("poststart", hooks.recorded(record, "poststart"), hooks.of_record(record, state.RUNNING))
    except errors.AtollError:
        try:
            kill.kill(run, process.SIGKILL)
        except errors.FailedPrecondition:
            pass
        raise
