"""Netlink: messages, attributes, sockets, acknowledgements (netlink(7)).

Holds: what rtnetlink and nfnetlink share. Does not hold: any message of theirs (`rtnetlink.py`, `nftables.py`,
`tc.py`), which are bytes before they are sent, so that a plan can be printed and compared without rights.

    nlmsghdr  length u32, type u16, flags u16, sequence u32, port u32, in host order; then the payload
    nlattr    length u16, type u16 (0x8000: nested), payload, padded to four bytes
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import AF_NETLINK, SO_RCVBUF, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800

NLMSG_ERROR = 2
NLMSG_DONE = 3
_NLA_F_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK = 270, 11, 10, 12
_KERNEL = (0, 0)
_RECEIVE = 1 << 16
_BUFFER = 1 << 20
_NLMSGERR_ATTR_MSG = 1
_CAPPED = 0x100


class Message:
    """One request before it has a sequence number: `type`, `flags` and payload; `what` says in words what it does,
    for plans and errors. `quiet` are errnos that count as done (a deletion of what has gone)."""

    __slots__ = ("flags", "payload", "quiet", "type", "what")

    def __init__(self, type: int, flags: int, payload: bytes, what: str, quiet: tuple[int, ...] = ()) -> None:
        self.type, self.flags, self.payload, self.what, self.quiet = type, flags, payload, what, quiet

    def __repr__(self) -> str:
        return f"<{self.what}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and (self.type, self.flags, self.payload) == (
            other.type,
            other.flags,
            other.payload,
        )

    def __hash__(self) -> int:
        return hash((self.type, self.flags, self.payload))

    def encode(self, sequence: int, more: int = 0) -> bytes:
        """As it is sent."""
        head = struct.pack("=IHHII", 16 + len(self.payload), self.type, self.flags | more, sequence, 0)
        return head + self.payload


def attr(kind: int, data: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute made of attributes."""
    return attr(kind | _NLA_F_NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """A string with its NUL."""
    return attr(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    """An unsigned byte."""
    return attr(kind, bytes((value,)))


def u16(kind: int, value: int) -> bytes:
    """Two bytes, host order."""
    return attr(kind, struct.pack("=H", value))


def u32(kind: int, value: int) -> bytes:
    """Four bytes, host order."""
    return attr(kind, struct.pack("=I", value))


def be32(kind: int, value: int) -> bytes:
    """Four bytes, network order (nfnetlink)."""
    return attr(kind, struct.pack(">I", value))


def be64(kind: int, value: int) -> bytes:
    """Eight bytes, network order."""
    return attr(kind, struct.pack(">Q", value))


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data`, nested ones as bytes; of a repeated one the last. Stops at what is malformed."""
    return dict(each_attribute(data))


def each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            return
        yield kind & _TYPE_MASK, data[at + 4 : at + length]
        at += (length + 3) & ~3


class Netlink:
    """A netlink socket, in the network namespace in which it was made, wherever it is used. `fd` adopts one.

    Sent with the kernel's address: then it asks for the rights of the sender alone, not also for those of whoever
    made the socket, so that one made inside a user namespace serves the namespace's owner outside, also for links
    that lead into another one of his (net/netlink/af_netlink.c, __netlink_ns_capable).
    """

    def __init__(self, protocol: int, fd: int | None = None) -> None:
        if fd is None:
            self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
        else:
            self._socket = socket(AF_NETLINK, SOCK_RAW, protocol, fd)
        self._sequence = 1
        for option in (_NETLINK_EXT_ACK, _NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK):
            try:
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            except OSError:  # an older kernel: errors without words
                continue
        self._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, _BUFFER)

    def fileno(self) -> int:
        """The descriptor."""
        return self._socket.fileno()

    def detach(self) -> int:
        """The descriptor, which is the caller's now."""
        return self._socket.detach()

    def close(self) -> None:
        """Close it; twice is fine."""
        self._socket.close()

    def send(self, messages: Sequence[Message]) -> list[bytes]:
        """Send all in one go, each acknowledged; the payloads that came back before the acknowledgements.

        Raises the first failure as OSError(errno, text, what), after every acknowledgement is in. All are tried: a
        batch of rtnetlink is no transaction (one of nftables is: `transaction`).
        """
        if not messages:
            return []
        first = self._sequence
        data = b"".join([m.encode(first + n, NLM_F_REQUEST | NLM_F_ACK) for n, m in enumerate(messages)])
        self._sequence += len(messages)
        self._socket.sendto(data, _KERNEL)
        return self._collect(messages, first, len(messages))

    def transaction(self, begin: bytes, messages: Sequence[Message], end: bytes) -> None:
        """A batch of nfnetlink: all or nothing. `begin` and `end` are whole messages. Raises the first OSError."""
        first = self._sequence
        data = [begin]
        data += [m.encode(first + n, NLM_F_REQUEST | NLM_F_ACK) for n, m in enumerate(messages)]
        self._sequence += len(messages)
        self._socket.setsockopt(SOL_SOCKET, 7, max(_BUFFER, 2 * sum(map(len, data))))  # SO_SNDBUF
        self._socket.sendto(b"".join([*data, end]), _KERNEL)
        self._collect(messages, first, len(messages))

    def dump(self, message: Message) -> list[bytes]:
        """The payloads of a dump. Raises OSError."""
        sequence = self._sequence
        self._sequence += 1
        self._socket.sendto(message.encode(sequence, NLM_F_REQUEST | NLM_F_DUMP), _KERNEL)
        found: list[bytes] = []
        while True:
            for kind, number, payload in _split(self._socket.recv(_RECEIVE)):
                if number != sequence:
                    continue
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise _error(payload, message.what)
                found.append(payload)

    def _collect(self, messages: Sequence[Message], first: int, waiting: int) -> list[bytes]:
        found: list[bytes] = []
        failed: OSError | None = None
        seen: set[int] = set()
        while len(seen) < waiting:
            for kind, number, payload in _split(self._socket.recv(_RECEIVE)):
                at = number - first
                if not 0 <= at < len(messages):
                    if kind == NLMSG_ERROR and at < 0 and _code(payload):  # the batch as a whole was refused
                        raise failed or _error(payload, "nftables batch")
                    continue
                if kind != NLMSG_ERROR:
                    found.append(payload)
                    continue
                seen.add(at)
                if _code(payload) and _code(payload) not in messages[at].quiet and failed is None:
                    failed = _error(payload, messages[at].what)
            if failed is not None and failed.errno in (errno.EPERM, errno.ENOBUFS):
                break  # nothing more may come
        if failed is not None:
            raise failed
        return found


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        length, kind, _, sequence = struct.unpack_from("=IHHI", data, at)
        if length < 16:
            return
        yield kind, sequence, data[at + 16 : at + length]
        at += (length + 3) & ~3


def _code(payload: bytes) -> int:
    return -int(struct.unpack_from("=i", payload)[0])


def _error(payload: bytes, what: str) -> OSError:
    """The kernel's errno, with its words where it has some (NETLINK_EXT_ACK)."""
    code = _code(payload)
    words = ""
    if len(payload) > 20:
        said = attributes(payload[20:]).get(_NLMSGERR_ATTR_MSG)
        words = f" ({said.rstrip(bytes(1)).decode(errors='replace')})" if said else ""
    return OSError(code, os.strerror(code) + words, what)
