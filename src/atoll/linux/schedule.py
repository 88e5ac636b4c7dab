"""Where and when a process runs: sched_setattr(2), ioprio_set(2), set_mempolicy(2).

Holds: thin calls with their constants' names as in the man pages. Does not hold: the runtime-spec's words for them.
"""

from __future__ import annotations

import ctypes
import struct

from atoll.linux.libc import SYS_ioprio_set, SYS_sched_setattr, SYS_set_mempolicy, syscall

SCHED_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IOPRIO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
MPOL_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MPOL_FLAGS = {"MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15}

_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_SHIFT = 13
_LONG_BITS = 64


def sched_setattr(
    policy: int,
    *,
    flags: int = 0,
    nice: int = 0,
    priority: int = 0,
    runtime: int = 0,
    deadline: int = 0,
    period: int = 0,
) -> None:
    """sched_setattr(2) of this thread; times in nanoseconds. Raises OSError."""
    attr = struct.pack("=IIQiIQQQ", 48, policy, flags, nice, priority, runtime, deadline, period)
    syscall(SYS_sched_setattr, 0, ctypes.create_string_buffer(attr, len(attr)), 0, subject="sched_setattr")


def ioprio_set(ioclass: int, priority: int) -> None:
    """ioprio_set(2) of this process. Raises OSError."""
    syscall(SYS_ioprio_set, _IOPRIO_WHO_PROCESS, 0, ioclass << _IOPRIO_CLASS_SHIFT | priority, subject="ioprio_set")


def set_mempolicy(mode: int, nodes: set[int]) -> None:
    """set_mempolicy(2) of this thread; no nodes is an empty mask. Raises OSError."""
    if not nodes:
        syscall(SYS_set_mempolicy, mode, None, 0, subject="set_mempolicy")
        return
    words = max(nodes) // _LONG_BITS + 1
    mask = sum(1 << node for node in nodes).to_bytes(words * 8, "little")
    # The kernel reads one bit less than it is told (set_mempolicy(2), BUGS of maxnode).
    syscall(
        SYS_set_mempolicy, mode, ctypes.create_string_buffer(mask, len(mask)), words * 64 + 1, subject="set_mempolicy"
    )
