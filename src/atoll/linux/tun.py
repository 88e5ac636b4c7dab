"""Tap devices: an Ethernet interface whose other end is a descriptor (Documentation/networking/tuntap.rst).

Holds: `open_tap`. Does not hold: what the frames are, where the interface's traffic goes (`network/tap.py`). The
interface goes when its last descriptor is closed.
"""

from __future__ import annotations

import fcntl
import os
import struct

from atoll.linux import netns

DEVICE = "/dev/net/tun"
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
VNET_HEADER = 10
"""Bytes of struct virtio_net_hdr before each frame of a tap with IFF_VNET_HDR, unless TUNSETVNETHDRSZ says more."""


def open_tap(ns: int, name: str, *, vnet_header: bool = True) -> int:
    """A new tap called `name` in the network namespace of the descriptor `ns`; its descriptor, close-on-exec and not
    blocking. With `vnet_header` frames carry what virtio-net says of checksums and segments.

    Raises OSError: EBUSY while somebody has that tap open, EACCES where /dev/net/tun may not be opened, ENOENT where
    the kernel has none.
    """
    # The descriptor belongs to the namespace in which it was opened, whoever uses it later (drivers/net/tun.c).
    fd = netns.inside(ns, lambda: os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    try:
        flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if vnet_header else 0)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError as error:
        os.close(fd)
        raise OSError(error.errno, error.strerror, f"tap {name}") from None
    return fd
