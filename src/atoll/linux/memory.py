"""Which pages a process has made its own, and making them its own at once.

Holds: `written`, `populate`. Does not hold: why (`monitor/spares.py`).
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


def _private() -> list[tuple[int, int]]:
    """The writable private mappings but the stack: (first page, how many). proc_pid_maps(5)."""
    found = []
    fd = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
    with open(fd, "rb") as stream:
        for line in stream:
            words = line.split(maxsplit=5)
            if words[1] == b"rw-p" and words[-1].strip() != b"[stack]":
                first, _, last = words[0].partition(b"-")
                begin = int(first, 16) // PAGE
                found.append((begin, int(last, 16) // PAGE - begin))
    return found
