"""inotify(7): be told when something changes in a directory.

Holds: `Watch`. Does not hold: what the changes mean.
"""

from __future__ import annotations

import ctypes
import os
import select

from atoll.linux.libc import check, encoded, libc

IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE = 0x2, 0x40, 0x80, 0x100

_init = libc.inotify_init1
_init.argtypes = (ctypes.c_int,)
_add = libc.inotify_add_watch
_add.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


class Watch:
    """Changes of files in `directory`: written to, made, renamed. Raises OSError (EMFILE and ENOSPC: the user's
    limits in /proc/sys/fs/inotify)."""

    def __init__(self, directory: str) -> None:
        self.fd = check(_init(os.O_CLOEXEC | os.O_NONBLOCK), "inotify_init1")
        try:
            mask = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE
            check(_add(self.fd, encoded(directory), mask), directory)
        except BaseException:
            self.close()
            raise

    def wait(self, seconds: float | None) -> bool:
        """Whether something has changed since the last call; waits for it, at most so long (None: for ever)."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        if not poll.poll(None if seconds is None else max(0.0, seconds) * 1000 + 0.5):
            return False
        try:
            while os.read(self.fd, 1 << 16):
                pass
        except BlockingIOError:
            pass
        return True

    def close(self) -> None:
        """Give the descriptor back; closing twice is fine."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
