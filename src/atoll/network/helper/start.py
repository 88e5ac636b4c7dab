"""Executing a helper: an interpreter of its own, that is nobody's child and has nothing but what it is given.

Holds: `execute`, `connect`, `begin`. Does not hold: what is said to one.
"""

from __future__ import annotations

import fcntl
import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket

from atoll.base import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BACKLOG = 1024


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


def connect(path: str, seconds: float | None = None) -> socket | None:
    """A connection to the helper that listens at `path`, with that patience; None for none. Raises OSError."""
    peer = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    peer.settimeout(seconds)
    try:
        peer.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        peer.close()
        return None
    except OSError:
        peer.close()
        raise
    return peer


def begin(path: str, lock: str, execute: Callable[[int], None], seconds: float | None = None) -> socket | None:
    """The same, with one begun if there is none: `execute` is given what it listens at. It does so already when it is
    executed: whoever connects meanwhile waits in its backlog. `lock` is a file: two are never begun at once. None if
    it has ended at once. Raises OSError, and what `execute` does."""
    guard = files.FileLock(lock)
    guard.acquire()
    try:
        peer = connect(path, seconds)
        if peer is not None:
            return peer
        files.unlink_if_present(path)
        listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        try:
            listener.bind(path)
            listener.listen(_BACKLOG)
            execute(listener.fileno())
        finally:
            listener.close()
        return connect(path, seconds)
    finally:
        guard.release()
