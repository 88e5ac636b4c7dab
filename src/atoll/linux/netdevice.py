"""Network interfaces by ioctl: netdevice(7). Holds only what a fresh network namespace or guest needs at once."""

from __future__ import annotations

import fcntl
import struct
from _socket import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, socket

SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
SIOCSIFHWADDR = 0x8924
ARPHRD_ETHER = 1
IFF_UP = 1


def set_up(name: str) -> None:
    """Bring an interface of this network namespace up. Raises OSError."""
    control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        request = struct.pack("16sH14x", name.encode(), 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control.fileno(), SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control.fileno(), SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), flags | IFF_UP))
    finally:
        control.close()


def set_address(name: str, mac: bytes) -> None:
    """Give an interface of this network namespace another hardware address. Raises OSError."""
    control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        fcntl.ioctl(control.fileno(), SIOCSIFHWADDR, struct.pack("16sH6s8x", name.encode(), ARPHRD_ETHER, mac))
    finally:
        control.close()
