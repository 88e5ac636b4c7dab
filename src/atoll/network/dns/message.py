"""DNS messages, as far as a forwarder with names of its own needs them (RFC 1035, 6891).

Holds: reading a question, walking the records of an answer, making answers. Does not hold: sockets, caches. What is
read is hostile input: a message that is malformed in any way raises `Malformed`.
"""

from __future__ import annotations

import struct

A, NS, CNAME, SOA, PTR, AAAA, OPT, SVCB, HTTPS, ANY = 1, 2, 5, 6, 12, 28, 41, 64, 65, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
_QR, _AA, _TC, _RD, _RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_MOST_RECORDS = 256
_OWN_SIZE = 1232
"""The UDP size that we announce (DNS flag day 2020: fits every path)."""


class Malformed(ValueError):
    """Not a DNS message, or not one of the kind that was expected."""


class Question:
    """A query: `name` in lower case without the last dot, `end` where its question ends. `size` is how long an
    answer by UDP may be, `edns` whether it said so itself."""

    __slots__ = ("edns", "end", "flags", "id", "kind", "klass", "name", "raw", "size")

    def __init__(self, data: bytes) -> None:
        if len(data) < 17:
            raise Malformed("too short")
        self.id, self.flags, questions, answers, _, additional = struct.unpack_from(">6H", data)
        if self.flags & _QR or questions != 1 or answers:
            raise Malformed("no query")
        self.name, at = read_name(data, 12, compressed=False)
        if at + 4 > len(data):
            raise Malformed("cut short")
        self.kind, self.klass = struct.unpack_from(">HH", data, at)
        self.end = at + 4
        self.raw = data
        self.size, self.edns = 512, False
        if additional and len(data) >= self.end + 11 and data[self.end : self.end + 3] == b"\0\0\x29":
            self.size, self.edns = max(512, struct.unpack_from(">H", data, self.end + 3)[0]), True

    @property
    def opcode(self) -> int:
        """0 is a standard query."""
        return int(self.flags >> 11 & 15)


def read_name(data: bytes, at: int, *, compressed: bool = True) -> tuple[str, int]:
    """(name in lower case, where it ends). Pointers lead back only, so that it ends."""
    labels: list[str] = []
    end, lowest, total = -1, at, 0
    while True:
        if at >= len(data):
            raise Malformed("a name runs out of the message")
        length = data[at]
        if length == 0:
            at += 1
            break
        if length & 0xC0 == 0xC0:
            if not compressed or at + 1 >= len(data):
                raise Malformed("a pointer where none may be")
            target = (length & 0x3F) << 8 | data[at + 1]
            if end < 0:
                end = at + 2
            if target >= lowest:
                raise Malformed("a pointer that does not lead back")
            at = lowest = target
            continue
        if length > 63 or at + 1 + length > len(data):
            raise Malformed("a label too long")
        total += length + 1
        if total > 254:
            raise Malformed("a name too long")
        labels.append(data[at + 1 : at + 1 + length].decode("latin-1").lower())
        at += 1 + length
    return ".".join(labels), end if end >= 0 else at


def write_name(name: str) -> bytes:
    """A name's bytes. Raises Malformed."""
    out = b""
    for label in name.rstrip(".").split(".") if name.rstrip(".") else ():
        raw = label.encode("latin-1", "replace")
        if not 0 < len(raw) < 64:
            raise Malformed(f"no label: {label!r}")
        out += bytes((len(raw),)) + raw
    return out + b"\0"


class Record:
    """A record of an answer: `data` is its RDATA, `ttl_at` where its TTL stands in the message."""

    __slots__ = ("at", "data", "kind", "name", "ttl", "ttl_at")

    def __init__(self, name: str, kind: int, ttl: int, ttl_at: int, data: bytes, at: int) -> None:
        self.name, self.kind, self.ttl, self.ttl_at, self.data, self.at = name, kind, ttl, ttl_at, data, at


def records(data: bytes) -> tuple[int, int, list[Record]]:
    """(flags, number of answers, all records but OPT). The first so many records are the answer section's."""
    if len(data) < 12:
        raise Malformed("too short")
    _, flags, questions, answers, authority, additional = struct.unpack_from(">6H", data)
    at = 12
    for _ in range(questions):
        _, at = read_name(data, at)
        at += 4
    found: list[Record] = []
    if answers + authority + additional > _MOST_RECORDS:
        raise Malformed("too many records")
    kept = answers
    for number in range(answers + authority + additional):
        name, at = read_name(data, at)
        if at + 10 > len(data):
            raise Malformed("cut short")
        kind, _, ttl, length = struct.unpack_from(">HHIH", data, at)
        if at + 10 + length > len(data):
            raise Malformed("cut short")
        if kind != OPT:
            found.append(Record(name, kind, ttl, at + 4, data[at + 10 : at + 10 + length], at + 10))
        elif number < answers:
            kept -= 1
        at += 10 + length
    return flags, kept, found


def answer(
    question: Question, found: list[tuple[int, int, bytes]], *, code: int = NOERROR, own: bool = True
) -> bytes:
    """The answer with records (type, ttl, data) of the name that was asked for."""
    flags = _QR | (question.flags & (_RD | 0x7800)) | _RA | (_AA if own else 0) | code
    body = question.raw[12 : question.end]
    for kind, ttl, data in found:
        body += b"\xc0\x0c" + struct.pack(">HHIH", kind, IN, ttl, len(data)) + data
    extra = b"\0" + struct.pack(">HHIH", OPT, _OWN_SIZE, 0, 0) if question.edns else b""
    head = struct.pack(">6H", question.id, flags, 1, len(found), 0, 1 if extra else 0)
    return head + body + extra


def truncated(question: Question) -> bytes:
    """Nothing but the word that it is too long for UDP."""
    flags = _QR | (question.flags & _RD) | _RA | _TC
    return struct.pack(">6H", question.id, flags, 1, 0, 0, 0) + question.raw[12 : question.end]


def is_truncated(data: bytes) -> bool:
    """Whether the rest is to be fetched by TCP."""
    return bool(data[2] & 0x02)


def aged(data: bytes, places: tuple[tuple[int, int], ...], seconds: int) -> bytes:
    """The message `seconds` later: `places` are (offset, TTL)."""
    out = bytearray(data)
    for at, ttl in places:
        struct.pack_into(">I", out, at, max(0, ttl - seconds))
    return bytes(out)


def reverse_name(address: bytes) -> str:
    """The name under in-addr.arpa or ip6.arpa."""
    if len(address) == 4:
        return ".".join([str(byte) for byte in reversed(address)]) + ".in-addr.arpa"
    return ".".join([f"{byte & 15:x}.{byte >> 4:x}" for byte in reversed(address)]) + ".ip6.arpa"
