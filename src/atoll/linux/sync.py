"""Flushing to disk: syncfs(2). Holds the call; does not hold when it is worth its time."""

from __future__ import annotations

import ctypes
import os

from atoll.linux.libc import check, libc

libc.syncfs.argtypes = [ctypes.c_int]
libc.syncfs.restype = ctypes.c_int


def syncfs(fd: int) -> None:
    """Flush the file system that `fd` is on; returns when it is done. Raises OSError."""
    check(libc.syncfs(fd))


def syncfs_path(path: str) -> None:
    """The same, by a directory's path."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
    finally:
        os.close(fd)
