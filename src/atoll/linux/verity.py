"""fs-verity: files whose every read the kernel checks against a tree of hashes.

Holds: `enable`, `measure`. Source: Documentation/filesystems/fsverity.rst, include/uapi/linux/fsverity.h.
"""

from __future__ import annotations

import errno
import fcntl
import struct

_ENABLE, _MEASURE = 0x40806685, 0xC0046686
_SHA256 = 1
_ABSENT = (errno.ENOTTY, errno.EOPNOTSUPP, errno.ENODATA, errno.EPERM, errno.EACCES, errno.ENOSYS)


def enable(fd: int) -> bool:
    """Seal a file, open for reading only and nowhere for writing, with SHA-256 over blocks of 4096 bytes. False where
    the kernel or the file system has no fs-verity. Raises OSError."""
    # struct fsverity_enable_arg: version, hash, block size, salt size and pointer, signature size and pointer
    argument = struct.pack("=IIIIQIIQ11Q", 1, _SHA256, 4096, 0, 0, 0, 0, 0, *([0] * 11))
    try:
        fcntl.ioctl(fd, _ENABLE, argument)
    except OSError as error:
        if error.errno == errno.EEXIST:
            return True
        if error.errno in _ABSENT or error.errno == errno.EINVAL:
            return False
        raise
    return True


def measure(fd: int) -> str | None:
    """The digest of a sealed file in hex; None for one that is not. Raises OSError."""
    buffer = bytearray(struct.pack("=HH", 0, 32) + bytes(32))
    try:
        fcntl.ioctl(fd, _MEASURE, buffer)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    return bytes(buffer[4:36]).hex()
