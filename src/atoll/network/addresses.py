"""Internet addresses as packed bytes, and subnets of them.

Holds: reading and writing them strictly, arithmetic, the MAC that belongs to an address. Does not hold: which ones
are given out (`pool.py`). The standard `ipaddress` module would take 9 ms of every start.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from atoll.base import errors
from atoll.base.value import Value


def parse(text: str, what: str = "IP address") -> bytes:
    """Four or sixteen bytes. Raises InvalidArgument; `010.1.1.1`, zones and IPv4-mapped forms of IPv6 are none."""
    try:
        packed = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        raise errors.InvalidArgument(f"invalid {what}: {text!r}") from None
    if packed[:12] == b"\0" * 10 + b"\xff\xff" and len(packed) == 16:
        raise errors.InvalidArgument(f"invalid {what}: {text!r} is an IPv4 address in IPv6's clothes")
    return packed


def is_address(text: str) -> bool:
    """Whether it reads as one."""
    try:
        parse(text)
    except errors.InvalidArgument:
        return False
    return True


def show(address: bytes) -> str:
    """As people write it."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def mapped(address: bytes) -> bytes | None:
    """The IPv4 address inside ::ffff:0:0/96, NAT64's 64:ff9b::/96 or 6to4's 2002::/16; None for any other."""
    if len(address) != 16:
        return None
    if address[:12] in (b"\0" * 10 + b"\xff\xff", b"\0\x64\xff\x9b" + bytes(8)):
        return address[12:]
    return address[2:6] if address[:2] == b"\x20\x02" else None


class Subnet(Value):
    """A network: `base` with all bits after `prefix` zero."""

    base: bytes
    prefix: int

    def __str__(self) -> str:
        return f"{show(self.base)}/{self.prefix}"

    @property
    def six(self) -> bool:
        """Whether it is of IPv6."""
        return len(self.base) == 16

    @property
    def first(self) -> int:
        """The base as a number."""
        return int.from_bytes(self.base, "big")

    @property
    def size(self) -> int:
        """How many addresses it has."""
        return 1 << (len(self.base) * 8 - self.prefix)

    @property
    def end(self) -> int:
        """The number after its last address."""
        return self.first + self.size

    @property
    def broadcast(self) -> bytes | None:
        """Its last address, where that is one for all (IPv4, but for /31 and /32)."""
        return None if self.six or self.prefix > 30 else self.at(self.size - 1)

    def at(self, number: int) -> bytes:
        """The address with this place in it."""
        return (self.first + number).to_bytes(len(self.base), "big")

    def holds(self, address: bytes) -> bool:
        """Whether the address lies in it."""
        return len(address) == len(self.base) and self.first <= int.from_bytes(address, "big") < self.end

    def overlaps(self, other: Subnet) -> bool:
        """Whether the two share an address."""
        return self.six == other.six and self.first < other.end and other.first < self.end


def parse_subnet(text: str, what: str = "subnet", *, strict: bool = False) -> Subnet:
    """`10.0.0.0/24`; bits after the prefix are cleared, or with `strict` refused. Raises InvalidArgument."""
    left, slash, right = text.partition("/")
    base = parse(left, what)
    bits = len(base) * 8
    if not slash or not right.isascii() or not right.isdecimal() or len(right) > 3 or int(right) > bits:
        raise errors.InvalidArgument(f"invalid {what}: {text!r}", hint="write ADDRESS/PREFIX, e.g. 10.90.0.0/24")
    prefix = int(right)
    found = network_of(base, prefix)
    if strict and found.base != base:
        raise errors.InvalidArgument(f"invalid {what}: {text!r} has host bits set", hint=f"meant {found}?")
    return found


def network_of(address: bytes, prefix: int) -> Subnet:
    """The subnet with this prefix that the address lies in."""
    bits = len(address) * 8
    number = int.from_bytes(address, "big") >> (bits - prefix) << (bits - prefix)
    return Subnet(base=number.to_bytes(len(address), "big"), prefix=prefix)


def parse_mac(text: str) -> bytes:
    """Six bytes, `02:42:ac:11:00:02`. Raises InvalidArgument, also for a group's or the empty address."""
    parts = text.replace("-", ":").split(":")
    try:
        mac = bytes([int(part, 16) for part in parts if len(part) == 2])
    except ValueError:
        mac = b""
    if len(mac) != 6 or len(parts) != 6:
        raise errors.InvalidArgument(f"{text} is not a valid mac address", hint="write 02:42:ac:11:00:02")
    if mac[0] & 1 or not any(mac):
        raise errors.InvalidArgument(f"{text} is not a mac address of one interface")
    return mac


def show_mac(mac: bytes) -> str:
    """As people write it."""
    return ":".join([f"{byte:02x}" for byte in mac])


def mac_of(address: bytes | None) -> bytes:
    """A locally administered MAC: for an IPv4 address always the same one, as Docker makes them, so that neighbours
    need not forget it; without one, chance."""
    if address is not None and len(address) == 4:
        return b"\x02\x42" + address
    return b"\x02" + os.urandom(5)


def link_local(mac: bytes) -> bytes:
    """The IPv6 address that a link with this MAC gives itself (RFC 4291, appendix A)."""
    return b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2, mac[1], mac[2], 0xFF, 0xFE, mac[3], mac[4], mac[5]))
