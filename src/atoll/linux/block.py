"""Block devices by ioctl: ioctl_blkdev, include/uapi/linux/fs.h. Holds only what a guest's disks need."""

from __future__ import annotations

import fcntl
import os

BLKFLSBUF = 0x1261


def drop_buffers(path: str) -> None:
    """Forget what the kernel has read of a device. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, BLKFLSBUF, 0)
    finally:
        os.close(fd)
