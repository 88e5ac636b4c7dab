"""The init's standard descriptors: a terminal of the container's own, or the three that the caller gave.

Holds: `open_console`, `open_here`, `set_stdio`, `is_null`. Does not hold: the caller's side of a terminal
(`command/console.py`, `monitor`).
"""

from __future__ import annotations

import errno
import os

from atoll.linux import tty
from atoll.runtime import devices, sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from atoll.linux.root import Root
    from atoll.runtime.identity import Identity
    from atoll.runtime.plan import InitPlan
    from atoll.spec.runtime import Process


def open_console(root: Root, proc: Process, end: socket) -> int:
    """A terminal in the container's own devpts: bind it on /dev/console, send the master to P, keep the slave."""
    devpts = root.open_at("/dev/pts", os.O_RDONLY | os.O_DIRECTORY)
    try:
        master, slave, number = tty.open_pair(devpts)
        devices.bind_console(root, devpts, number, slave)
    finally:
        os.close(devpts)
    return _hand_over(master, slave, proc, end)


def open_here(proc: Process, end: socket) -> int:
    """A terminal of the devpts at /dev/pts as this process sees it: exec's, and a container's that has the caller's
    mounts. Returns the slave; the master is P's. Raises OSError."""
    devpts = os.open("/dev/pts", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        master, slave, _ = tty.open_pair(devpts)
    finally:
        os.close(devpts)
    return _hand_over(master, slave, proc, end)


def _hand_over(master: int, slave: int, proc: Process, end: socket) -> int:
    if proc.console_size is not None:
        tty.set_window_size(master, proc.console_size.height, proc.console_size.width)
    sync.send(end, {"at": "console"}, master)
    os.close(master)
    return slave


def set_stdio(plan: InitPlan, console: int, identity: Identity) -> None:
    """Make `console`, or `plan.stdio`, descriptors 0, 1 and 2, belonging to the user. Raises OSError."""
    if console >= 0:
        tty.set_controlling_terminal(console)
        try:
            os.fchown(console, identity.uid, -1)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise
        for number in (0, 1, 2):
            os.dup2(console, number, inheritable=True)
        os.close(console)
        return
    if plan.stdio is not None:
        # Lift them out of the way first: a source may be one of the targets.
        lifted = [os.dup(fd) if fd < 3 else fd for fd in plan.stdio]
        for number, fd in enumerate(lifted):
            os.dup2(fd, number, inheritable=True)
    for number in (0, 1, 2):
        # `echo > /dev/stderr` opens the pipe anew: it must belong to the user (moby/moby#31243).
        try:
            info = os.fstat(number)
            if info.st_uid != identity.uid and not is_null(info):
                os.fchown(number, identity.uid, -1)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL, errno.EROFS, errno.EBADF):
                raise


def is_null(info: os.stat_result) -> bool:
    """Whether it is of a null device, which belongs to all of the host: nobody changes its owner."""
    return info.st_rdev == os.makedev(1, 3)
