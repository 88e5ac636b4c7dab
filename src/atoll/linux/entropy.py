"""The kernel's random numbers: random(4).

Holds: `add_entropy`, `reseed`. Does not hold: where the entropy comes from.
"""

from __future__ import annotations

import fcntl
import os
import struct

RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207


def add_entropy(data: bytes) -> None:
    """Mix in `data`, credited in full, and make every generator derived from the pool anew. Raises OSError (EPERM
    without CAP_SYS_ADMIN)."""
    fd = os.open("/dev/urandom", os.O_WRONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, RNDADDENTROPY, struct.pack("ii", 8 * len(data), len(data)) + data)
        fcntl.ioctl(fd, RNDRESEEDCRNG)
    finally:
        os.close(fd)
