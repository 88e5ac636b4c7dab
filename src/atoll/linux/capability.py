"""Capabilities: capset(2), the bounding and the ambient set, and their names.

Source: capabilities(7), include/uapi/linux/capability.h. Does not hold: which ones a container gets.
"""

from __future__ import annotations

import ctypes
import errno

from atoll.linux.libc import SYS_capget, SYS_capset, syscall
from atoll.linux.process import PR_CAP_AMBIENT, PR_CAPBSET_DROP, PR_CAPBSET_READ, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID "
    "CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW "
    "CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT "
    "CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE "
    "CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM "
    "CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE"
).split()
NUMBERS = {name: number for number, name in enumerate(NAMES)}
KNOWN = frozenset(NAMES)

_VERSION_3 = 0x20080522
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def mask_of(names: Iterable[str]) -> int:
    """The bit mask of capability names; unknown ones are passed over."""
    mask = 0
    for name in names:
        if name in NUMBERS:
            mask |= 1 << NUMBERS[name]
    return mask


def names_of(mask: int) -> list[str]:
    """The names in a bit mask."""
    return [name for number, name in enumerate(NAMES) if mask >> number & 1]


def last_cap() -> int:
    """The highest capability this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())


def capget() -> tuple[int, int, int]:
    """capget(2) of this process: (effective, permitted, inheritable) as masks. Raises OSError."""
    data = (_Data * 2)()
    syscall(SYS_capget, ctypes.byref(_Header(_VERSION_3, 0)), data)
    return (
        data[0].effective | data[1].effective << 32,
        data[0].permitted | data[1].permitted << 32,
        data[0].inheritable | data[1].inheritable << 32,
    )


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) of this process, sets as masks. Raises OSError (EPERM: more than is permitted)."""
    low = 0xFFFFFFFF
    data = (_Data * 2)(
        _Data(effective & low, permitted & low, inheritable & low),
        _Data(effective >> 32, permitted >> 32, inheritable >> 32),
    )
    syscall(SYS_capset, ctypes.byref(_Header(_VERSION_3, 0)), data, subject="capset")


def drop_bounding(keep: int) -> None:
    """Take everything out of the bounding set that is not in the mask `keep`. Raises OSError (needs CAP_SETPCAP)."""
    for number in range(64):
        if not keep >> number & 1:
            try:
                prctl(PR_CAPBSET_DROP, number)
            except OSError as error:
                if number >= len(NAMES) or number > last_cap():
                    return  # past the last capability of this kernel
                # Without CAP_SETPCAP, EPERM: what is not there need not go.
                if error.errno != errno.EPERM or prctl(PR_CAPBSET_READ, number):
                    raise


def set_ambient(mask: int) -> None:
    """Make the ambient set just `mask`. Raises OSError (each must be permitted and inheritable)."""
    prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    number = 0
    while mask >> number:
        if mask >> number & 1:
            prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)
        number += 1
