"""Pseudo terminals and window sizes: ioctl_tty(2), pts(4).

Holds: opening a pair from a given devpts, the controlling terminal, sizes. Does not hold: raw mode (termios).
"""

from __future__ import annotations

import fcntl
import os
import struct

TIOCSCTTY = 0x540E
TIOCGWINSZ = 0x5413
TIOCSWINSZ = 0x5414
TIOCGPTN = 0x80045430
TIOCSPTLCK = 0x40045431
TIOCGPTPEER = 0x5441


def open_pair(devpts_fd: int) -> tuple[int, int, int]:
    """A new pair in the devpts instance whose root directory `devpts_fd` is: (master, slave, number).

    The slave is opened through the master (TIOCGPTPEER), never by a path that could be exchanged. Both are
    close-on-exec. Raises OSError.
    """
    master = os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=devpts_fd)
    try:
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        number = struct.unpack("i", fcntl.ioctl(master, TIOCGPTN, b"\0\0\0\0"))[0]
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except BaseException:
        os.close(master)
        raise
    return master, slave, number


def open_peer(master: int) -> int:
    """The other end of a terminal, opened through this one. Raises OSError."""
    return fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def set_controlling_terminal(fd: int) -> None:
    """TIOCSCTTY: make `fd` the controlling terminal of this session leader. Raises OSError."""
    fcntl.ioctl(fd, TIOCSCTTY, 0)


def window_size(fd: int) -> tuple[int, int]:
    """TIOCGWINSZ: (rows, columns). Raises OSError (ENOTTY)."""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, TIOCGWINSZ, bytes(8)))
    return rows, columns


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """TIOCSWINSZ; the kernel sends SIGWINCH to the foreground group. Raises OSError."""
    fcntl.ioctl(fd, TIOCSWINSZ, struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0))
