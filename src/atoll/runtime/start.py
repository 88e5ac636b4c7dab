"""start: let a created container run its program."""

from __future__ import annotations

import errno
import os

from atoll.base import errors
from atoll.runtime import state


def start(run: str) -> None:
    """Open the start fifo that the init waits on. Returns when the init has been released.

    Raises NotFound, or FailedPrecondition for a container that is not in the state "created".
    """
    record = state.read(run)
    path = f"{run}/{state.FIFO}"
    status = state.status_of(run, record)
    if status != state.CREATED:
        raise errors.FailedPrecondition(f"cannot start container {record.id}: it is {status}, not created")
    # Non-blocking: the init may die while we look, and then nobody would ever open the other end.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        pidfd = state.open_init(record)
        if pidfd is None:
            raise errors.FailedPrecondition(f"cannot start container {record.id}: its init has ended")
        try:
            _await_byte(fd, pidfd, record.id)
        finally:
            os.close(pidfd)
    finally:
        os.close(fd)
    os.unlink(path)


def _await_byte(fd: int, pidfd: int, name: str) -> None:
    import select

    poller = select.poll()
    poller.register(fd, select.POLLIN)
    poller.register(pidfd, select.POLLIN)
    while True:
        ready = dict(poller.poll())
        if fd in ready:
            try:
                if os.read(fd, 1):
                    return
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
        if pidfd in ready:
            raise errors.FailedPrecondition(f"cannot start container {name}: its init has ended")
