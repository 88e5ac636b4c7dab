"""The processor's time stamp counter: how fast it counts.

Holds: `khz`. Source: Intel's manual, volume 2, RDTSC; Documentation/x86/kernel's `tsc_early_khz=`. The kernel knows
this and tells nobody: `cpu MHz` of /proc/cpuinfo is what the processor runs at now.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time

_READ = bytes.fromhex("0f3148c1e2204809d0c3")  # rdtsc; shl rdx, 32; or rax, rdx; ret
_TRIES = 20


def khz(seconds: float = 0.02) -> int:
    """Thousands of counts a second, measured for about `seconds`; 0 where it cannot be told: another kind of
    processor, or a system that lets no process make code."""
    if os.uname().machine != "x86_64":
        return 0
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return 0
    page.write(_READ)
    at = (ctypes.c_char * mmap.PAGESIZE).from_buffer(page)
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(at))
    first, began = _together(read)
    time.sleep(seconds)
    last, ended = _together(read)
    del at
    page.close()
    return round((last - first) * 1_000_000 / (ended - began))


def _together(read: ctypes._FuncPointer) -> tuple[int, int]:
    """The counter, and the clock's nanoseconds at the same moment: of some tries the one that took the least."""
    found = []
    for _ in range(_TRIES):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        count = read()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        found.append((after - before, count, (before + after) // 2))
    _, count, moment = min(found)
    return count, moment
