"""Which pages a process has made its own, making them its own at once, and giving up those that are a file's.

Holds: `written`, `populate`, `unmap_shared`. Does not hold: why (`monitor/spares.py`, `cli/warm.py`).
"""

from __future__ import annotations

import ctypes
import os

from atoll.linux.libc import check, libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MADV_POPULATE_WRITE = 23  # include/uapi/asm-generic/mman-common.h, Linux 5.14
PAGE = os.sysconf("SC_PAGE_SIZE")

# Bits of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst): present, mapped by this process alone.
_OWN = 1 << 63 | 1 << 56

libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def written(gap: int = 1) -> list[tuple[int, int]]:
    """The pages of this process's private memory that no other process shares: (number of the first page, how many),
    ascending; up to `gap` others between two are taken with them. Raises OSError."""
    found: list[tuple[int, int]] = []
    pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for first, count in _private():
            entries = memoryview(os.pread(pagemap, 8 * count, 8 * first)).cast("Q")
            begin = end = -1
            for number, entry in enumerate(entries):
                if entry & _OWN != _OWN:
                    continue
                if begin < 0:
                    begin = number
                elif number - end > gap:
                    found.append((first + begin, end - begin))
                    begin = number
                end = number + 1
            if begin >= 0:
                found.append((first + begin, end - begin))
    finally:
        os.close(pagemap)
    return found


def populate(pages: Iterable[tuple[int, int]]) -> None:
    """Have a copy of its own of each page (first, how many) that this process shares so far, as its first write would
    make it. What is not mapped, and what memory is short for, is passed over."""
    for first, count in pages:
        try:
            check(libc.madvise(first * PAGE, count * PAGE, MADV_POPULATE_WRITE))
        except OSError:  # ENOMEM: part of it is not mapped here; before Linux 5.14 EINVAL
            continue


def unmap_shared() -> None:
    """Give up every shared mapping, each of which keeps its file open (munmap(2)). Only for a process about to end:
    whoever still looks there, as SQLite at its index, ends by SIGSEGV. Raises OSError."""
    for begin, end, how, _ in _mappings():
        if how[3:] == b"s":
            check(libc.munmap(begin, end - begin))


def _private() -> list[tuple[int, int]]:
    """The writable private mappings but the stack: (first page, how many)."""
    return [
        (begin // PAGE, (end - begin) // PAGE)
        for begin, end, how, name in _mappings()
        if how == b"rw-p" and name != b"[stack]"
    ]


def _mappings() -> list[tuple[int, int, bytes, bytes]]:
    """What is mapped: first address, the one after it, permissions, the last word. proc_pid_maps(5)."""
    found = []
    fd = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
    with open(fd, "rb") as stream:
        for line in stream:
            words = line.split(maxsplit=5)
            first, _, last = words[0].partition(b"-")
            found.append((int(first, 16), int(last, 16), words[1], words[-1].strip()))
    return found
