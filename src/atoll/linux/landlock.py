"""landlock(7): a process takes away from itself what it will not need of files, sockets and signals.

Holds: `abi`, `restrict_to`. Source: landlock(7), Documentation/userspace-api/landlock.rst. Landlock bounds only what
is opened by path from then on; it does not bound chmod, chown and attributes: a mount namespace does.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from atoll.linux.libc import syscall
from atoll.linux.process import PR_SET_NO_NEW_PRIVS, prctl

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1 << 0
_PATH_BENEATH = 1
# Rights on files by ABI: execute … make_sym, then refer (2), truncate (3), ioctl_dev (5).
_RIGHTS = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_EXECUTE = 1
_NET = 0b11  # bind and connect of TCP (4)
_SCOPES = 0b11  # abstract sockets, signals (6)


def abi() -> int:
    """The version that this kernel has; 0 for none."""
    try:
        return syscall(_CREATE_RULESET, None, 0, _VERSION, subject="landlock")
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise


def restrict_to(dir_fd: int) -> bool:
    """Leave this process (one thread) only the directory, without executing there, no new TCP connections and no
    signals to others. It cannot be undone. False on kernels before 5.19, where links between directories would be
    refused altogether. Raises OSError.
    """
    version = abi()
    if version < 2:
        return False
    rights = 0
    for since, bits in _RIGHTS:
        if version >= since:
            rights |= bits
    attr = struct.pack("=QQQ", rights, _NET if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    buffer = ctypes.create_string_buffer(attr[:size], size)
    ruleset = syscall(_CREATE_RULESET, ctypes.byref(buffer), size, 0, subject="landlock")
    import os

    try:
        beneath = ctypes.create_string_buffer(struct.pack("=Qi", rights & ~_EXECUTE, dir_fd), 12)
        syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0, subject="landlock")
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        syscall(_RESTRICT_SELF, ruleset, 0, subject="landlock")
    finally:
        os.close(ruleset)
    return True
