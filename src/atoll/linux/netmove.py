"""Moving an interface to another network namespace, with its addresses: rtnetlink(7).

Holds: `carry` and `settle`, on sockets of both namespaces (`netlink.py`). Does not hold: which interface goes where
(`runtime/netdevices.py`).
"""

from __future__ import annotations

import errno
import struct

from atoll.base.value import Value
from atoll.linux import rtnetlink
from atoll.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Netlink,
    attr,
    attributes,
    each_attribute,
    text,
    u32,
)

RTM_NEWLINK, RTM_NEWADDR, RTM_GETADDR = 16, 20, 22
IFLA_IFNAME, IFLA_NET_NS_FD = 3, 28
IFA_FLAGS = 8
IFA_KEPT = (1, 2, 3, 4, IFA_FLAGS)  # address, local, label, broadcast, flags
IFA_F_PERMANENT = 0x80
IFF_LOOPBACK = 0x8
RT_SCOPE_UNIVERSE = 0


class Address(Value):
    """One of an interface's: family, length of the prefix, scope, IFA_F_ flags, and its attributes as they came."""

    family: int
    prefix: int
    scope: int
    flags: int
    attributes: tuple[tuple[int, bytes], ...]


def carry(here: Netlink, there: Netlink, namespace: int, name: str, new_name: str) -> tuple[int, list[Address]]:
    """Move the interface `name` from the namespace of `here` into that of `there`, whose descriptor is `namespace`.
    `new_name` may end in `%d`, for which the kernel puts a free number. Returns its number there, where it is down,
    and its permanent addresses of global scope, which the kernel drops on the way: `settle` gives them back.

    Raises OSError: ENODEV, EEXIST for a name that is taken there, EINVAL for a loopback.
    """
    link = rtnetlink.link(here, name)
    if link is None:
        raise OSError(errno.ENODEV, "no such interface", name)
    if link.flags & IFF_LOOPBACK:
        raise OSError(errno.EINVAL, "a loopback belongs to its namespace", name)
    kept = [
        one for one in _addresses(here, link.index) if one.flags & IFA_F_PERMANENT and one.scope == RT_SCOPE_UNIVERSE
    ]
    before = {one.index: one.name for one in rtnetlink.links(there)}
    if new_name in before.values():
        raise OSError(errno.EEXIST, "there is an interface of this name", new_name)
    moved = (
        struct.pack("=BxHiII", 0, 0, link.index, 0, 0) + u32(IFLA_NET_NS_FD, namespace) + text(IFLA_IFNAME, new_name)
    )
    here.send([Message(RTM_NEWLINK, 0, moved, f"move {name}")])  # and rename it, in one request
    return next(one.index for one in rtnetlink.links(there) if one.index not in before), kept


def settle(there: Netlink, index: int, addresses: list[Address], *, up: bool = True) -> None:
    """Give a moved interface its addresses and bring it up. Raises OSError."""
    messages = [_give(index, one) for one in addresses]
    there.send([*messages, rtnetlink.set_up(index)] if up else messages)


def _give(index: int, address: Address) -> Message:
    payload = struct.pack("=BBBBI", address.family, address.prefix, address.flags & 0xFF, address.scope, index)
    payload += b"".join([attr(kind, value) for kind, value in address.attributes])
    return Message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, payload, f"address of {index}", quiet=(errno.EEXIST,))


def _addresses(sock: Netlink, index: int) -> list[Address]:
    found = []
    for payload in sock.dump(Message(RTM_GETADDR, 0, struct.pack("=BBBBi", 0, 0, 0, 0, 0), "list addresses")):
        family, prefix, flags, scope, its = struct.unpack_from("=BBBBI", payload)
        whole = attributes(payload[8:]).get(IFA_FLAGS)
        if whole is not None:
            (flags,) = struct.unpack("=I", whole)
        if its == index:
            kept = tuple([(kind, value) for kind, value in each_attribute(payload[8:]) if kind in IFA_KEPT])
            found.append(Address(family=family, prefix=prefix, scope=scope, flags=flags, attributes=kept))
    return found
