"""Two names that exchange what they name: rename(2), RENAME_EXCHANGE. Holds nothing else."""

from __future__ import annotations

import ctypes
import os

from atoll.linux.libc import check, libc

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
libc.renameat2.restype = ctypes.c_int


def exchange(one: str, other: str) -> None:
    """In one step, each is what the other was. Raises OSError."""
    names = os.fsencode(one), os.fsencode(other)
    check(libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE), subject=one)
