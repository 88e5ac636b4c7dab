"""A file's contents copied as cheaply as its file system can: shared blocks, or a copy within the kernel, holes kept.

Holds: `copy_contents`. Does not hold: attributes. Sources: ioctl_ficlone(2), copy_file_range(2), lseek(2).
"""

from __future__ import annotations

import errno
import fcntl
import os

_FICLONE = 0x40049409
_NOT_HERE = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ETXTBSY)
_CHUNK = 1 << 20


def copy_contents(source: int, target: int) -> None:
    """Fill the empty file `target` with what is in `source`; both descriptors' positions move. Raises OSError."""
    size = os.fstat(source).st_size
    if size == 0:
        return
    try:
        fcntl.ioctl(target, _FICLONE, source)
        return
    except OSError as error:
        if error.errno not in (*_NOT_HERE, errno.ENOTTY, errno.EPERM):
            raise
    os.ftruncate(target, size)
    end = 0
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, target, start, end)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(source, target, end - start, start, start)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            done = os.pwrite(target, os.pread(source, min(end - start, _CHUNK), start), start)
        if done == 0:
            return  # it became shorter: nobody of ours does that
        start += done
