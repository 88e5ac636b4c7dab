"""Processes: clone3, pidfds, namespaces, prctl, exec by descriptor, keyrings, names.

Holds: thin calls. Does not hold: capabilities (`capability.py`), seccomp (`seccomp.py`).
"""

from __future__ import annotations

import ctypes
import errno

from atoll.linux.libc import (
    SYS_clone,
    SYS_clone3,
    SYS_close_range,
    SYS_execveat,
    SYS_keyctl,
    SYS_pidfd_open,
    SYS_pidfd_send_signal,
    check,
    encoded,
    libc,
    syscall,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

SIGCHLD = 17
SIGKILL = 9

CLONE_NEWTIME = 0x00000080
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47

CLOSE_RANGE_UNSHARE = 2
CLOSE_RANGE_CLOEXEC = 4

PIDFD_GET_INFO = 0xC040FF0B
PIDFD_INFO_EXIT = 8

AT_EMPTY_PATH = 0x1000
KEYCTL_JOIN_SESSION_KEYRING = 1
KEYCTL_SETPERM = 5


class _CloneArgs(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    ]


def clone3(flags: int, *, cgroup_fd: int = -1, exit_signal: int = SIGCHLD) -> tuple[int, int]:
    """clone3(2) without shared memory, like a fork into namespaces: (pid, pidfd) in the parent, (0, -1) in the child.

    Python's own bookkeeping of forks does not run: only for children that exec or leave by `os._exit`, from a
    process with one thread. With `cgroup_fd` (a directory of cgroup v2) the child starts in that cgroup. Where
    clone3 is refused with ENOSYS (a container's filter), clone(2) serves; it knows neither `cgroup_fd` nor time
    namespaces and raises OSError(ENOSYS) for those. Raises OSError.
    """
    pidfd = ctypes.c_int(-1)
    args = _CloneArgs(flags=flags | CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=exit_signal)
    if flags & CLONE_PARENT:
        args.exit_signal = 0  # inherited; anything else is EINVAL
    if cgroup_fd >= 0:
        args.flags |= CLONE_INTO_CGROUP
        args.cgroup = cgroup_fd
    try:
        pid = syscall(SYS_clone3, ctypes.byref(args), ctypes.sizeof(args), subject="clone3")
    except OSError as error:
        if error.errno != errno.ENOSYS or cgroup_fd >= 0 or flags & CLONE_NEWTIME:
            raise
        low = flags | CLONE_PIDFD | (0 if flags & CLONE_PARENT else exit_signal)
        pid = syscall(SYS_clone, low, None, ctypes.byref(pidfd), None, None, subject="clone")
    return (pid, pidfd.value) if pid else (0, -1)


def pidfd_open(pid: int) -> int:
    """pidfd_open(2), close-on-exec by itself. Raises OSError (ESRCH: no such process)."""
    return syscall(SYS_pidfd_open, pid, 0, subject=str(pid))


def pidfd_exit_status(pidfd: int) -> int | None:
    """The wait status of a process that has ended and been reaped, by whomever (PIDFD_GET_INFO of
    include/uapi/linux/pidfd.h, Linux 6.15); None if it has not, or for a kernel that does not tell."""
    import fcntl
    from struct import pack, unpack_from

    asked = pack("QQ12I", PIDFD_INFO_EXIT, *[0] * 13)
    try:
        found = fcntl.ioctl(pidfd, PIDFD_GET_INFO, asked)
    except OSError:  # ENOTTY, EINVAL: an older kernel; ESRCH: reaped, and an older kernel
        return None
    return unpack_from("i", found, 60)[0] if unpack_from("Q", found)[0] & PIDFD_INFO_EXIT else None


def pidfd_send_signal(pidfd: int, signum: int) -> None:
    """pidfd_send_signal(2). Raises OSError (ESRCH: it has ended)."""
    syscall(SYS_pidfd_send_signal, pidfd, signum, None, 0)


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    check(libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, flags: int = 0, subject: str | None = None) -> None:
    """setns(2), with a namespace's descriptor or a pidfd and several flags (Linux 5.8). Raises OSError."""
    check(libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), subject or "setns")


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    """prctl(2) with integer arguments. Raises OSError."""
    long = ctypes.c_ulong
    return check(libc.prctl(ctypes.c_int(option), long(a), long(b), long(c), long(d)), "prctl")


# Made once: forked monitors make no objects of their own for this call, which would cost them a page each.
_SUBREAPER = (PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def become_subreaper() -> None:
    """PR_SET_CHILD_SUBREAPER: orphans among our descendants come to us. Raises OSError."""
    check(libc.prctl(*_SUBREAPER), "prctl")


def set_name(name: str) -> None:
    """PR_SET_NAME: the 15 bytes that `ps -o comm` shows."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    check(libc.prctl(ctypes.c_int(PR_SET_NAME), buffer, 0, 0, 0), "prctl")


def sethostname(name: str) -> None:
    """sethostname(2). Raises OSError."""
    raw = name.encode()
    check(libc.sethostname(raw, ctypes.c_size_t(len(raw))), "sethostname")


def setdomainname(name: str) -> None:
    """setdomainname(2). Raises OSError."""
    raw = name.encode()
    check(libc.setdomainname(raw, ctypes.c_size_t(len(raw))), "setdomainname")


def close_range(first: int, last: int = 0x7FFFFFFF, flags: int = 0) -> None:
    """close_range(2). Raises OSError."""
    syscall(SYS_close_range, first, last, flags)


def execveat(fd: int, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """execveat(2) of the file that `fd` stands for. Returns only by OSError."""
    argv = (ctypes.c_char_p * (len(arguments) + 1))(*[encoded(a) for a in arguments], None)
    pairs = [encoded(f"{key}={value}") for key, value in environment.items()]
    envp = (ctypes.c_char_p * (len(pairs) + 1))(*pairs, None)
    syscall(SYS_execveat, fd, b"", argv, envp, AT_EMPTY_PATH, subject=arguments[0])


def join_session_keyring(name: str) -> int:
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: a new session keyring, so that the container shares none of the
    host's keys. Returns its serial. Raises OSError."""
    return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.encode())


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot (proc_pid_stat(5), field 22); with the pid and the boot id
    it names a process for good. Raises OSError (ENOENT: no such process)."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        line = file.read()
    # The second field, the name, may hold spaces and parentheses: count from the last one.
    return int(line[line.rindex(b")") + 2 :].split()[19])


def personality(persona: int) -> int:
    """personality(2). Raises OSError."""
    return check(libc.personality(ctypes.c_ulong(persona)), "personality")


def restart_machine() -> NoReturn:
    """reboot(2), LINUX_REBOOT_CMD_RESTART: at once and without sync. Raises OSError."""
    check(libc.reboot(0x01234567), "reboot")
    raise OSError(0, "the machine goes on")


def power_off() -> NoReturn:
    """reboot(2), LINUX_REBOOT_CMD_POWER_OFF: at once and without sync. Raises OSError."""
    check(libc.reboot(0x4321FEDC), "reboot")
    raise OSError(0, "the machine goes on")
