"""seccomp(2): installing filters, asking what the kernel knows, and user notification (seccomp_unotify(2)).

Holds: thin calls on ready-made filters, the notification structures. Does not hold: compiling (`runtime/seccomp`).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import struct

from atoll.base.value import Value
from atoll.linux.libc import SYS_seccomp, syscall

SECCOMP_SET_MODE_FILTER = 1
SECCOMP_GET_ACTION_AVAIL = 2
SECCOMP_GET_NOTIF_SIZES = 3

SECCOMP_FILTER_FLAG_TSYNC = 1
SECCOMP_FILTER_FLAG_LOG = 2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 16
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 32

SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1

_IOCTL_NOTIF_RECV = 0xC0502100
_IOCTL_NOTIF_SEND = 0xC0182101
_IOCTL_NOTIF_ID_VALID = 0x40082102
_NOTIF = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif with its struct seccomp_data
_RESP = struct.Struct("=QqiI")  # struct seccomp_notif_resp


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


class Notification(Value):
    """One call that waits for a supervisor's answer: who (`pid` as the supervisor sees it) called what."""

    id: int
    pid: int
    nr: int
    arch: int
    instruction_pointer: int
    args: tuple[int, ...]


def seccomp_set_mode_filter(program: bytes, flags: int = 0) -> int:
    """Put the calling thread (and what it executes) under a filter: an array of struct sock_filter.

    The listener's descriptor, close-on-exec, with SECCOMP_FILTER_FLAG_NEW_LISTENER; else 0. It cannot be undone.
    Raises OSError: EACCES without no_new_privs and CAP_SYS_ADMIN in the own user namespace, EINVAL for a filter or
    flags that the kernel does not take, ESRCH where another thread could not follow (TSYNC).
    """
    if len(program) % 8 or not 8 <= len(program) <= 8 * 4096:
        raise OSError(errno.EINVAL, "not an array of 1 to 4096 instructions", "seccomp")
    fprog = _Program(len(program) // 8, program)
    result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(fprog), subject="seccomp")
    if result and not flags & SECCOMP_FILTER_FLAG_NEW_LISTENER:
        # TSYNC without TSYNC_ESRCH answers with the id of a thread that has another filter.
        raise OSError(errno.ESRCH, f"thread {result} cannot take the filter", "seccomp")
    return result


def seccomp_get_action_avail(action: int) -> bool:
    """Whether the kernel knows an action (SECCOMP_RET_*). Raises OSError for other reasons."""
    wanted = ctypes.c_uint32(action)
    try:
        syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(wanted), subject="seccomp")
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return False
        raise
    return True


def seccomp_flag_avail(flag: int) -> bool:
    """Whether the kernel knows a filter flag: it looks at flags (EINVAL) before the filter (EFAULT on none)."""
    if flag == SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV:
        flag |= SECCOMP_FILTER_FLAG_NEW_LISTENER
    try:
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag, None, subject="seccomp")
    except OSError as error:
        return error.errno == errno.EFAULT
    return False


def seccomp_get_notif_sizes() -> tuple[int, int, int]:
    """Bytes of struct seccomp_notif, seccomp_notif_resp and seccomp_data in this kernel. Raises OSError."""
    sizes = (ctypes.c_uint16 * 3)()
    syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, sizes, subject="seccomp")
    return (sizes[0], sizes[1], sizes[2])


def notif_recv(listener: int) -> Notification:
    """The next call that waits. Blocks. Raises OSError (ENOENT: the caller died meanwhile; try again)."""
    # The kernel may know longer structures than we read, and wants all of it zero.
    buffer = bytearray(max(_NOTIF.size, seccomp_get_notif_sizes()[0]))
    fcntl.ioctl(listener, _IOCTL_NOTIF_RECV, buffer)
    ident, pid, _, nr, arch, pointer, *args = _NOTIF.unpack_from(buffer)
    return Notification(id=ident, pid=pid, nr=nr, arch=arch, instruction_pointer=pointer, args=tuple(args))


def notif_send(listener: int, ident: int, *, value: int = 0, error: int = 0, proceed: bool = False) -> None:
    """Answer a call: with a value, a (positive) errno, or by letting it proceed. Raises OSError (ENOENT: gone)."""
    flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE if proceed else 0
    buffer = bytearray(max(_RESP.size, seccomp_get_notif_sizes()[1]))
    _RESP.pack_into(buffer, 0, ident, value, -error, flags)
    fcntl.ioctl(listener, _IOCTL_NOTIF_SEND, buffer)


def notif_id_valid(listener: int, ident: int) -> bool:
    """Whether the caller still waits: to be asked after its memory was read, or the pid may be another's."""
    try:
        fcntl.ioctl(listener, _IOCTL_NOTIF_ID_VALID, struct.pack("=Q", ident))
    except FileNotFoundError:
        return False
    return True
