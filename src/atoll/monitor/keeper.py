"""Who keeps a container company, and how its keeper learns of an end that is not its child's.

Holds: `hold`, `end_of`. Does not hold: taking over (`takeover.py`).

Whoever reads a container's output holds one lock, `<run>/keeper`: the monitor, and by inheritance each of its clerks
(flock(2) is of the open file, which goes when its last holder does). So another one begins when the last is dead, and
two never share a stream.

An init whose monitor was killed is the spawner's child, which tells how it ended. Where that is gone, too, the pidfd
knows once somebody has reaped the init (Linux 6.15); on older kernels that end is lost, 255 with the reason.
"""

from __future__ import annotations

import fcntl
import os
import time
from _socket import AF_UNIX, MSG_DONTWAIT, MSG_PEEK, SOCK_STREAM, socket
from _struct import unpack

from atoll.linux import process

LOST_STATUS = -1
"""In place of a wait status that nobody has."""
MOURN_SECONDS = 1.0
"""How long somebody else's word of an end is waited for."""
KEEPER = "keeper"
_STEP = 0.005


def hold(run: str, *, wait: bool = False) -> int | None:
    """The lock of who keeps the container of `run` company; None if somebody has it, or the container is another one
    by the time that it is free. Raises OSError (ENOENT: no such container)."""
    path = f"{run}/{KEEPER}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        found, there = os.fstat(fd), os.stat(path)
        if (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def end_of(fds: dict[str, int]) -> int:
    """How an init ended whose pidfd says so and that is not our child: its wait status, or LOST_STATUS."""
    deadline = time.monotonic() + MOURN_SECONDS
    while True:
        status = process.pidfd_exit_status(fds["pidfd"])
        if status is None and "told" in fds:
            status = told_by(fds["told"])
        if status is not None:
            return status
        if time.monotonic() >= deadline:
            return LOST_STATUS
        time.sleep(_STEP)


def told_by(told: int) -> int | None:
    """The spawner's word at a socket, which stays for whoever asks next; None if there is none (yet)."""
    line = socket(AF_UNIX, SOCK_STREAM, 0, told)
    try:
        word = line.recv(4, MSG_PEEK | MSG_DONTWAIT)
        return unpack("i", word)[0] if len(word) == 4 else None
    except OSError:
        return None
    finally:
        line.detach()
