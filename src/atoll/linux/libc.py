"""The C library and the raw system call, with one error convention.

Holds: `libc`, `syscall`, `check`, the numbers of system calls that have no wrapper in the C library, and the
machine's name. Does not hold: any prototype of a single call (each lives with its module, set once at import).
"""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
# PyDLL keeps the interpreter lock during the call: what a cloned child needs, and cheaper for short calls.
_raw = ctypes.PyDLL(None, use_errno=True).syscall
_raw.restype = ctypes.c_long

MACHINE = os.uname().machine

# Above 423 all architectures share one numbering (include/uapi/asm-generic/unistd.h).
SYS_pidfd_send_signal = 424
SYS_open_tree = 428
SYS_move_mount = 429
SYS_fsopen = 430
SYS_fsconfig = 431
SYS_fsmount = 432
SYS_fspick = 433
SYS_pidfd_open = 434
SYS_clone3 = 435
SYS_close_range = 436
SYS_openat2 = 437
SYS_pidfd_getfd = 438
SYS_mount_setattr = 442

# By architecture: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
_NUMBERS = {
    "x86_64": {
        "pivot_root": 155,
        "execveat": 322,
        "seccomp": 317,
        "keyctl": 250,
        "capget": 125,
        "capset": 126,
        "bpf": 321,
        "ioprio_set": 251,
        "sched_setattr": 314,
        "set_mempolicy": 238,
        "finit_module": 313,
        "clone": 56,
    },
    "aarch64": {
        "pivot_root": 41,
        "execveat": 281,
        "seccomp": 277,
        "keyctl": 219,
        "capget": 90,
        "capset": 91,
        "bpf": 280,
        "ioprio_set": 30,
        "sched_setattr": 274,
        "set_mempolicy": 237,
        "finit_module": 273,
        "clone": 220,
    },
}
_here = _NUMBERS.get(MACHINE, _NUMBERS["x86_64"])
SYS_pivot_root = _here["pivot_root"]
SYS_execveat = _here["execveat"]
SYS_seccomp = _here["seccomp"]
SYS_keyctl = _here["keyctl"]
SYS_capget = _here["capget"]
SYS_capset = _here["capset"]
SYS_bpf = _here["bpf"]
SYS_ioprio_set = _here["ioprio_set"]
SYS_sched_setattr = _here["sched_setattr"]
SYS_set_mempolicy = _here["set_mempolicy"]
SYS_clone = _here["clone"]
SYS_finit_module = _here["finit_module"]


def fail(subject: str | None = None) -> OSError:
    """The OSError for the errno that the last call left."""
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), subject) if subject is not None else OSError(code, os.strerror(code))


def check(result: int, subject: str | None = None) -> int:
    """The result of a call, or its OSError when it is negative."""
    if result < 0:
        raise fail(subject)
    return result


def syscall(number: int, *args: object, subject: str | None = None) -> int:
    """syscall(2): integers, bytes and pointers as they are. Raises OSError with `subject` as its file name.

    Plain integers are passed as C longs, so that flags and pointers keep their upper half.
    """
    widened = [ctypes.c_long(a) if type(a) is int else a for a in args]
    result: int = _raw(ctypes.c_long(number), *widened)
    if result < 0:
        raise fail(subject)
    return result


def encoded(path: str | bytes) -> bytes:
    """A path as the kernel takes it. Raises ValueError for one with NUL, which would be cut there."""
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise ValueError(f"path with NUL: {path!r}")
    return raw
