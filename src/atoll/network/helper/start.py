"""Executing a helper: an interpreter of its own, that is nobody's child and has nothing but what it is given."""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def execute(command: list[str], environ: Mapping[str, str], said: str, fds: tuple[int, ...]) -> None:
    """Execute a helper that forks at once, with nothing but `fds`, from 3 on; what it says is added to the file
    `said`. Raises OSError."""
    faults = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    spare: list[int] = []
    try:
        # Above those that it is given, so that none of them overwrites another's source.
        spare = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3 + len(fds)) for fd in fds]
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, faults, 2)]
        actions += [(os.POSIX_SPAWN_DUP2, fd, 3 + n) for n, fd in enumerate(spare)]
        pid = os.posix_spawn(command[0], command, environ, file_actions=actions)
    finally:
        for fd in (faults, null, *spare):
            os.close(fd)
    os.waitpid(pid, 0)  # it forks at once, so that it is nobody's child
