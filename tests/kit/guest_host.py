"""The program behind a tap (`kit/guest.py`): hands frames from one descriptor to the other."""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import subprocess
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x2, 0x1000, 0x4000
TUNSETOFFLOAD = 0x400454D0
OFFLOADS = 0x1 | 0x2 | 0x4  # checksums, TCP segments of IPv4 and IPv6


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def main(tap: int, wanted: dict[str, object]) -> None:
    """Until killed."""
    own = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(own, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    for fd in (own, tap):
        fcntl.ioctl(fd, TUNSETOFFLOAD, OFFLOADS)
    _ip("link", "set", "lo", "up")
    _ip("link", "set", "eth0", "address", str(wanted["mac"]), "mtu", str(wanted["mtu"]), "up")
    addresses, gateways = wanted["addresses"], wanted["gateways"]
    assert isinstance(addresses, list)
    assert isinstance(gateways, list)
    for address in addresses:
        _ip("addr", "add", address, "dev", "eth0", *(("nodad",) if ":" in address else ()))
    for to, gateway in gateways:
        _ip("route", "add", to, "via", gateway)
    print("up", flush=True)
    other = {own: tap, tap: own}
    poll = select.poll()
    for fd in other:
        poll.register(fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            try:
                os.write(other[fd], os.read(fd, 1 << 17))
            except (BlockingIOError, OSError):  # a full queue drops, as a wire does
                continue


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
