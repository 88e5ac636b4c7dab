"""Local sockets: unix(7). Holds: `unread`. Does not hold: what is sent over them."""

from __future__ import annotations

import fcntl

SIOCOUTQ = 0x5411


def unread(fd: int) -> bool:
    """Whether something that was sent by this socket lies in the other end's queue still (unix(7), SIOCOUTQ). Raises
    OSError."""
    return fcntl.ioctl(fd, SIOCOUTQ, bytes(4)) != bytes(4)
