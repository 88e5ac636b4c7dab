"""Interfaces and their addresses by rtnetlink(7), as far as moving one to another network namespace needs.

Holds: `Route`, a socket that stays in the namespace it was opened in, `carry` and `settle`. Does not hold: which
interface goes where (`runtime/netdevices.py`).
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import AF_NETLINK, NETLINK_ROUTE, SO_RCVBUF, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket

from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 20, 22
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_DUMP, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x300, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFLA_IFNAME, IFLA_NET_NS_FD = 3, 28
IFA_FLAGS = 8
IFA_KEPT = (1, 2, 3, 4, IFA_FLAGS)  # address, local, label, broadcast, flags
IFA_F_PERMANENT = 0x80
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
RT_SCOPE_UNIVERSE = 0

_HEAD = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ANSWER = 1 << 16


class Link(Value):
    """An interface: its number in its namespace, its IFF_ flags."""

    index: int
    name: str
    flags: int


class Address(Value):
    """One of an interface's: family, length of the prefix, scope, and its attributes as they came."""

    family: int
    prefix: int
    scope: int
    flags: int
    attributes: tuple[tuple[int, bytes], ...]


class Route:
    """A NETLINK_ROUTE socket of the namespace that the process was in when it was opened (or of descriptor `fd`).
    Its methods raise OSError."""

    def __init__(self, fd: int | None = None) -> None:
        if fd is not None:
            self._socket = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, fileno=fd)
        else:
            self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
            self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 20)
        self._sequence = 0

    def fileno(self) -> int:
        """Its descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def link(self, name: str) -> Link:
        """The interface of that name; ENODEV if there is none."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _attribute(IFLA_IFNAME, name.encode() + b"\0")
        for kind, payload in self._ask(RTM_GETLINK, body, 0, name):
            if kind == RTM_NEWLINK:
                return _link_of(payload)
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), name)

    def links(self) -> dict[int, Link]:
        """Every interface by its number."""
        answers = self._ask(RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0), NLM_F_DUMP, "interfaces")
        found = [_link_of(payload) for kind, payload in answers if kind == RTM_NEWLINK]
        return {link.index: link for link in found}

    def addresses(self, index: int) -> list[Address]:
        """The addresses of an interface, of every family."""
        answers = self._ask(RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), NLM_F_DUMP, "addresses")
        return [_address_of(payload) for kind, payload in answers if _ADDRESS.unpack_from(payload)[4] == index]

    def add_address(self, index: int, address: Address) -> None:
        """Give an interface an address; one that it has already is fine."""
        body = _ADDRESS.pack(address.family, address.prefix, address.flags & 0xFF, address.scope, index)
        body += b"".join([_attribute(kind, value) for kind, value in address.attributes])
        try:
            self._ask(RTM_NEWADDR, body, NLM_F_CREATE | NLM_F_EXCL, "address")
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise

    def set_up(self, index: int) -> None:
        """Bring an interface up."""
        self._ask(RTM_NEWLINK, _LINK.pack(0, 0, index, IFF_UP, IFF_UP), 0, "interface")

    def send_away(self, link: Link, namespace: int, name: str) -> None:
        """Move an interface into the network namespace of a descriptor, under a name, in one request."""
        body = _LINK.pack(0, 0, link.index, 0, 0)
        body += _attribute(IFLA_NET_NS_FD, struct.pack("=I", namespace))
        body += _attribute(IFLA_IFNAME, name.encode() + b"\0")
        self._ask(RTM_NEWLINK, body, 0, link.name)

    def _ask(self, kind: int, body: bytes, flags: int, subject: str) -> list[tuple[int, bytes]]:
        self._sequence += 1
        whole = _HEAD.pack(_HEAD.size + len(body), kind, flags | NLM_F_REQUEST | NLM_F_ACK, self._sequence, 0) + body
        self._socket.sendto(whole, (0, 0))
        found: list[tuple[int, bytes]] = []
        while True:
            for answer, sequence, payload in _messages(self._socket.recv(_ANSWER)):
                if sequence != self._sequence:
                    continue
                if answer == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", payload)[0]
                    if code:
                        raise OSError(code, os.strerror(code), subject)
                    return found
                if answer == NLMSG_DONE:
                    return found
                found.append((answer, payload))


def carry(here: Route, there: Route, namespace: int, name: str, new_name: str) -> tuple[Link, list[Address]]:
    """Move the interface `name` from the namespace of `here` into that of `there`, whose descriptor is `namespace`.
    `new_name` may end in `%d`, for which the kernel puts a free number. Returns it as it is there, down, and its
    permanent addresses of global scope, which the kernel drops on the way: `settle` gives them back.

    Raises OSError: ENODEV, EEXIST for a name that is taken there, EINVAL for a loopback.
    """
    link = here.link(name)
    if link.flags & IFF_LOOPBACK:
        raise OSError(errno.EINVAL, "a loopback belongs to its namespace", name)
    found = here.addresses(link.index)
    kept = [one for one in found if one.flags & IFA_F_PERMANENT and one.scope == RT_SCOPE_UNIVERSE]
    before = there.links()
    if any(one.name == new_name for one in before.values()):
        raise OSError(errno.EEXIST, "there is an interface of this name", new_name)
    here.send_away(link, namespace, new_name)
    return next(one for index, one in there.links().items() if index not in before), kept


def settle(there: Route, link: Link, addresses: list[Address], *, up: bool = True) -> None:
    """Give a moved interface its addresses and bring it up. Raises OSError."""
    for address in addresses:
        there.add_address(link.index, address)
    if up:
        there.set_up(link.index)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            return
        yield kind & 0x3FFF, data[4:size]
        data = data[(size + 3) & ~3 :]


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    while len(data) >= _HEAD.size:
        size, kind, _, sequence, _ = _HEAD.unpack_from(data)
        if size < _HEAD.size:
            return
        yield kind, sequence, data[_HEAD.size : size]
        data = data[(size + 3) & ~3 :]


def _link_of(payload: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    name = dict(_attributes(payload[_LINK.size :])).get(IFLA_IFNAME, b"")
    return Link(index=index, name=name.rstrip(b"\0").decode(errors="surrogateescape"), flags=flags)


def _address_of(payload: bytes) -> Address:
    family, prefix, flags, scope, _ = _ADDRESS.unpack_from(payload)
    attributes = tuple([(kind, value) for kind, value in _attributes(payload[_ADDRESS.size :]) if kind in IFA_KEPT])
    whole = dict(attributes).get(IFA_FLAGS)
    if whole is not None:
        flags = struct.unpack("=I", whole)[0]
    return Address(family=family, prefix=prefix, scope=scope, flags=flags, attributes=attributes)
