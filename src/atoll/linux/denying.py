"""A seccomp filter that refuses some calls and lets all others pass: for Atoll's own processes.

Holds: `deny`. Does not hold: profiles of containers (`runtime/seccomp`). Source: seccomp(2), bpf(4).
"""

from __future__ import annotations

import struct

from atoll.linux.libc import MACHINE
from atoll.linux.process import PR_SET_NO_NEW_PRIVS, prctl
from atoll.linux.seccomp import seccomp_set_mode_filter

# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "socket": 41,
        "connect": 42,
        "execve": 59,
        "kill": 62,
        "ptrace": 101,
        "chroot": 161,
        "mount": 165,
        "umount2": 166,
        "init_module": 175,
        "unshare": 272,
        "perf_event_open": 298,
        "open_by_handle_at": 304,
        "setns": 308,
        "process_vm_writev": 311,
        "finit_module": 313,
        "bpf": 321,
        "execveat": 322,
        "pivot_root": 155,
        "keyctl": 250,
    },
    "aarch64": {
        "pivot_root": 41,
        "umount2": 39,
        "mount": 40,
        "chroot": 51,
        "unshare": 97,
        "init_module": 105,
        "ptrace": 117,
        "kill": 129,
        "socket": 198,
        "connect": 203,
        "keyctl": 219,
        "execve": 221,
        "perf_event_open": 241,
        "open_by_handle_at": 265,
        "setns": 268,
        "process_vm_writev": 271,
        "finit_module": 273,
        "bpf": 280,
        "execveat": 281,
    },
}
# The same numbers everywhere: io_uring, the mount interface, clone3's namespaces are out of reach without rights.
_COMMON = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "mount_setattr": 442,
}
_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOW, _EPERM, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
_LOAD, _EQUAL, _GREATER, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32 = 0x40000000


def deny() -> bool:
    """Refuse (EPERM) what a process that only makes files never calls: executing, mounting, tracing, sockets, file
    handles, other processes. False on a machine whose numbers are not known here. Raises OSError."""
    numbers = _NUMBERS.get(MACHINE)
    if numbers is None:
        return False
    code = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCHES[MACHINE]), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    code += [(_GREATER, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for number in sorted({**numbers, **_COMMON}.values()):
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    code.append((_RETURN, 0, 0, _ALLOW))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    seccomp_set_mode_filter(b"".join([struct.pack("=HBBI", *one) for one in code]))
    return True
