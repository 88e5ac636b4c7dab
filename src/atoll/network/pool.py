"""Which subnet a new network gets, which address a new container: pure functions over what is taken.

Holds: the pools, `free_subnet`, `next_address`. Does not hold: who remembers (the store, in one transaction with the
question, so that no address is given twice).
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.network.addresses import Subnet, parse_subnet, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DEFAULT = Subnet(base=bytes((10, 83, 0, 0)), prefix=16)
"""The default network's, where it is free; beside Docker's 172.17.0.0/16 and Podman's 10.88.0.0/16."""
_USER = (parse_subnet("10.84.0.0/14"), parse_subnet("192.168.128.0/17"))
_USER_PREFIX = 24
_MOST_TRIED = 4096


def candidates() -> Iterator[Subnet]:
    """The subnets for user networks, in their order."""
    for pool in _USER:
        for number in range(1 << (_USER_PREFIX - pool.prefix)):
            yield Subnet(base=pool.at(number << (32 - _USER_PREFIX)), prefix=_USER_PREFIX)


def free_subnet(taken: Sequence[Subnet], *, default: bool = False) -> Subnet:
    """An IPv4 subnet that overlaps none of `taken` (other networks', the host's routes). Raises Exhausted."""
    if default and not any(DEFAULT.overlaps(one) for one in taken):
        return DEFAULT
    for candidate in candidates():
        if not candidate.overlaps(DEFAULT) and not any(candidate.overlaps(one) for one in taken):
            return candidate
    raise errors.Exhausted(
        "all predefined address pools have been fully subnetted", hint="remove networks, or give one with --subnet"
    )


def unique_local() -> Subnet:
    """A fresh IPv6 subnet from fd00::/8 (RFC 4193: forty bits of chance)."""
    return Subnet(base=b"\xfd" + os.urandom(5) + bytes(10), prefix=64)


def next_address(
    subnet: Subnet, within: Subnet, gateway: bytes | None, last: int, taken: Callable[[bytes], bool]
) -> tuple[bytes, int]:
    """A free address of `within` (a range of the subnet) and its place, which is the next question's `last`: one that
    was just given back is not given out again at once, while neighbours still know it. Raises Exhausted."""
    low, high = 0, within.size
    if within.first == subnet.first:
        low = 1
    if subnet.broadcast is not None and within.end == subnet.end:
        high -= 1
    count = high - low
    for step in range(min(count, 1 << 17)):
        place = low + (last - low + 1 + step) % count if count else low
        address = within.at(place)
        if address != gateway and not taken(address):
            return address, place
    raise errors.Exhausted(
        f"no available IP addresses on network {within}", hint="stop containers on it, or make a larger network"
    )


def check_static(text: bytes, subnet: Subnet, gateway: bytes | None) -> None:
    """Refuse an address that a container cannot have there. Raises InvalidArgument."""
    if not subnet.holds(text) or text in (subnet.base if not subnet.six else b"", subnet.broadcast):
        raise errors.InvalidArgument(f"no configured subnet or ip-range contain the IP address {show(text)}")
    if text == gateway:
        raise errors.InvalidArgument(f"the IP address {show(text)} is the gateway's")
