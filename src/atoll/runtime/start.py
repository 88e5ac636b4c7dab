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
    # Held before the fifo is opened: that releases the init, which may have ended a moment later.
    pidfd = state.open_init(record)
    if pidfd is None:
        raise errors.FailedPrecondition(f"cannot start container {record.id}: it is {state.STOPPED}")
    try:
        # Non-blocking: should the init die while we look, nobody would ever open the other end.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _await_byte(fd, pidfd, record.id)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise errors.FailedPrecondition(f"cannot start container {record.id}: it was started already") from None
    finally:
        os.close(pidfd)
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
