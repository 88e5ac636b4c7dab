"""Loop devices: a file as a block device (loop(4)).

Holds: `attach`. Does not hold: what is on the device.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_READ_ONLY, _AUTOCLEAR, _DIRECT = 1, 4, 16
_TRIES = 64


def attach(
    backing_fd: int, *, offset: int = 0, size: int = 0, read_only: bool = False, direct: bool = False
) -> tuple[int, str]:
    """A free loop device over the file, or `size` bytes of it (0: all) from `offset` on, which goes by itself with
    its last user; `direct`: past the page cache of what is below. Returns the device's descriptor, owned by the
    caller, and its path. Needs Linux 5.8 and CAP_SYS_ADMIN. Raises OSError."""
    # struct loop_config: fd, block size, struct loop_info64 (232 bytes; lo_offset at 24, lo_sizelimit at 32, lo_flags
    # at 52), 8 reserved words
    info = bytearray(232)
    struct.pack_into("=QQ", info, 24, offset, size)
    struct.pack_into("=I", info, 52, _AUTOCLEAR | _READ_ONLY * read_only | _DIRECT * direct)
    config = struct.pack("=II", backing_fd, 0) + bytes(info) + bytes(64)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            path = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, config)
                return device, path
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody was faster
                    raise
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no free loop device")
