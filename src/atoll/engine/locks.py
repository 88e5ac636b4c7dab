"""One lock per container: a flock(2) on its own durable directory, so that no lock file is left behind.

Holds: `ContainerLock`, `lock_container`, `is_busy`. Does not hold: the order of locks (`engine/__init__.py`).
"""

from __future__ import annotations

import fcntl
import os

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class ContainerLock:
    """A held lock; given back by `release`, at the end of its block, or with the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; releasing twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_container(directory: str, *, blocking: bool = True) -> ContainerLock:
    """Lock a container by its durable directory.

    Raises NotFound when the directory is gone, also when it went while we waited; Unavailable when somebody holds
    it and `blocking` is off.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise errors.NotFound(f"the container's directory {directory} is gone") from None
    except OSError as error:
        raise errors.from_os_error(error, "lock the container") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if blocking else fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have removed the container: a removed directory has no links left.
        if os.fstat(fd).st_nlink == 0 or not os.path.isdir(directory):
            raise errors.NotFound("the container was removed meanwhile")
    except BlockingIOError:
        os.close(fd)
        raise errors.Unavailable(
            "another command is working on this container", hint="try again in a moment"
        ) from None
    except BaseException:
        os.close(fd)
        raise
    return ContainerLock(fd)


def is_busy(directory: str) -> bool:
    """Whether some command holds the container's lock right now; a directory that is gone is not busy."""
    try:
        lock_container(directory, blocking=False).release()
    except errors.NotFound:
        return False
    except errors.Unavailable:
        return True
    return False
