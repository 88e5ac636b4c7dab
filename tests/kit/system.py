"""The few system calls that Python 3.11's `os` lacks, for tests: unshare, setns, mount, umount2, prctl."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_FS = 0x00000200
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWNET = 0x40000000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, *what: object) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), " ".join(str(word) for word in what))
    return result


def unshare(flags: int) -> None:
    """unshare(2)."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare", hex(flags))


def setns(fd: int, kind: int) -> None:
    """setns(2)."""
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns", fd)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    _checked(result, "mount", kind, source, target)


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2), detaching."""
    _checked(_libc.umount2(target.encode(), ctypes.c_int(flags)), "umount", target)


def become_subreaper() -> None:
    """prctl(2) PR_SET_CHILD_SUBREAPER: whatever our descendants abandon becomes our child and can be counted."""
    _checked(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl", "PR_SET_CHILD_SUBREAPER")
