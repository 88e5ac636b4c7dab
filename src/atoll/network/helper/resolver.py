"""The name server of a network: UDP and TCP, own names first, then the upstreams, with a cache; all bounded.

Holds: `Resolver`. Does not hold: names (`dns/zone.py`), the policy's word on a name (`egress`, given as `Gate`).
Upstreams are asked from a fresh port with a fresh id each (RFC 5452); the second one after a second of silence.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    inet_ntop,
    inet_pton,
    socket,
)

from atoll.network.dns import message
from atoll.network.dns.message import Malformed, Question
from atoll.network.helper.loop import READ, WRITE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.network.dns.zone import Book
    from atoll.network.helper.gate import Gate

PATIENCE = 1.0
"""Seconds before the next upstream is asked, too."""
MOST_PENDING = 1024
MOST_CACHED = 4096
MOST_TCP = 128
TCP_SECONDS = 20.0
_LONGEST = 3600
_TRIES = 16


class Resolver:
    """Answers for `book`; `upstreams` are addresses of name servers as text. `gate` is asked about clients that have
    an egress policy. `outward` makes the sockets by which upstreams are asked, where that is another network."""

    def __init__(self, loop: Loop, book: Book, upstreams: tuple[str, ...], gate: Gate | None = None) -> None:
        self.loop, self.book, self.upstreams, self.gate = loop, book, upstreams, gate
        self.outward: Callable[[int, int], socket] = socket
        self.pending = 0
        self.tcp = 0
        self._cache: dict[tuple[str, int, bool], tuple[float, bytes, tuple[tuple[int, int], ...]]] = {}
        self._quick: dict[tuple[str, bytes], tuple[int, bytes]] = {}
        self._listening: dict[bytes, list[socket]] = {}

    # -- sockets

    def listens(self, address: bytes) -> bool:
        """Whether it answers there."""
        return address in self._listening

    def listen_anywhere(self, address: bytes) -> int:
        """Answer at any free port of an address; the port. Raises OSError."""
        for _ in range(_TRIES):
            port = 32768 + int.from_bytes(os.urandom(2), "big") % 28000
            try:
                self.listen(address, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return port
        raise OSError(errno.EADDRINUSE, "no port is free")

    def listen(self, address: bytes, port: int = 53) -> None:
        """Answer at an address. Raises OSError (EADDRINUSE: another name server has all addresses of the host)."""
        if address in self._listening:
            return
        family = AF_INET if len(address) == 4 else AF_INET6
        made: list[socket] = []
        try:
            for kind in (SOCK_DGRAM, SOCK_STREAM):
                one = socket(family, kind | SOCK_CLOEXEC | SOCK_NONBLOCK)
                made.append(one)
                if kind == SOCK_STREAM:
                    one.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
                if family == AF_INET6:
                    one.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
                one.bind((inet_ntop(family, address), port))
            made[1].listen(64)
        except OSError:
            for one in made:
                one.close()
            raise
        self._listening[address] = made
        self.loop.watch(made[0].fileno(), READ, lambda events: self._datagrams(made[0], family))
        self.loop.watch(made[1].fileno(), READ, lambda events: self._connection(made[1], family))

    def deafen(self) -> None:
        """Close every listener."""
        for made in self._listening.values():
            for one in made:
                self.loop.forget(one.fileno())
                one.close()
        self._listening.clear()

    def changed(self) -> None:
        """The book is another one."""
        self._quick.clear()

    def _datagrams(self, sock: socket, family: int) -> None:
        """All that are there, at most a hundred, so that others get their turn."""
        for _ in range(100):
            try:
                data, peer = sock.recvfrom(4096)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an earlier answer found nobody
                continue
            # The same question by the same client is answered without being read again.
            known = self._quick.get((peer[0], data[2:]))
            if known is not None and known[0] == self.book.version:
                self._send(sock, data[:2] + known[1], peer)
                continue

            def reply(answer: bytes, *, own: bool = False, peer: tuple[str, int] = peer, data: bytes = data) -> None:
                if own and len(self._quick) < MOST_CACHED:
                    self._quick[peer[0], data[2:]] = (self.book.version, answer[2:])
                self._send(sock, answer, peer)

            self._serve(data, inet_pton(family, peer[0].partition("%")[0]), reply, tcp=False)

    def _send(self, sock: socket, answer: bytes, peer: tuple[str, int]) -> None:
        try:
            sock.sendto(answer, peer)
        except OSError:  # its buffer is full, or it has gone: it asks again
            pass

    def _connection(self, listener: socket, family: int) -> None:
        try:
            fd, peer = listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        connection = socket(family, SOCK_STREAM, 0, fd)
        if self.tcp >= MOST_TCP:
            connection.close()
            return
        _Stream(self, connection, inet_pton(family, peer[0].partition("%")[0]))

    # -- a question

    def _serve(self, data: bytes, client: bytes, reply: Callable[..., None], *, tcp: bool) -> None:
        try:
            question = Question(data)
        except Malformed:
            if len(data) >= 12 and not data[2] & 0x80:
                reply(data[:2] + bytes((0x80 | data[2] & 0x79, 0x80 | message.FORMERR)) + bytes(8))
            return
        if client not in self.book.clients:  # none of ours: this is no resolver for the world
            reply(message.answer(question, [], code=message.REFUSED, own=False))
            return
        if question.opcode != 0 or question.klass != message.IN:
            reply(message.answer(question, [], code=message.NOTIMP))
            return
        own = self.book.lookup(client, question)
        if own is not None:
            made = message.answer(question, own)
            if not tcp and len(made) > question.size:
                made = message.truncated(question)
            reply(made, own=len(own) < 2)
            return
        if self.gate is not None and self.gate.limits(client):
            if not self.gate.may_ask(client, question):
                reply(message.answer(question, [], code=message.NXDOMAIN, own=False))
                return
            if question.kind in (message.HTTPS, message.SVCB):  # its keys would hide the name from us
                reply(message.answer(question, [], own=False))
                return
        upstreams = self.book.upstreams.get(client) or self.upstreams
        if client in self.book.inside or not upstreams:
            reply(message.answer(question, [], code=message.NXDOMAIN, own=False))
            return
        self._ask(question, client, upstreams, reply, tcp=tcp)

    def _ask(
        self, question: Question, client: bytes, upstreams: tuple[str, ...], reply: Callable[..., None], *, tcp: bool
    ) -> None:
        key = (question.name + "\0" + upstreams[0], question.kind, question.edns)
        cached = self._cache.get(key)
        if cached is not None and question.size >= len(cached[1]):
            age = int(time.monotonic() - cached[0])
            if not cached[2] or age < min(ttl for _, ttl in cached[2]):
                self._give(question, client, message.aged(cached[1], cached[2], age), reply)
                return
            del self._cache[key]
        if self.pending >= MOST_PENDING:
            reply(message.answer(question, [], code=message.SERVFAIL, own=False))
            return
        self.pending += 1

        def done(answer: bytes | None) -> None:
            self.pending -= 1
            if answer is None:
                reply(message.answer(question, [], code=message.SERVFAIL, own=False))
                return
            self._keep(key, answer)
            self._give(question, client, answer, reply)

        (_TcpQuery if tcp else _UdpQuery)(self.loop, question, upstreams, done, self.outward)

    def _give(self, question: Question, client: bytes, answer: bytes, reply: Callable[..., None]) -> None:
        if self.gate is not None and self.gate.limits(client):
            try:
                answer = self.gate.opened(client, question, answer)
            except (Malformed, OSError) as fault:
                print(f"net helper: {question.name!r}: {fault}", file=sys.stderr)  # noqa: T201 - the faults file
                answer = message.answer(question, [], code=message.SERVFAIL, own=False)
        reply(question.raw[:2] + answer[2:])

    def _keep(self, key: tuple[str, int, bool], answer: bytes) -> None:
        try:
            flags, _, found = message.records(answer)
        except Malformed:
            return
        if flags & 15 not in (message.NOERROR, message.NXDOMAIN) or message.is_truncated(answer) or not found:
            return
        places = tuple([(one.ttl_at, min(one.ttl, _LONGEST)) for one in found])
        if not min(ttl for _, ttl in places):
            return
        if len(self._cache) >= MOST_CACHED:
            self._cache.pop(next(iter(self._cache)))
        self._cache[key] = (time.monotonic(), answer, places)


def _family(server: str) -> int:
    return AF_INET6 if ":" in server else AF_INET


class _Query:
    """One question at the upstreams: the first that answers has the word."""

    def __init__(
        self,
        loop: Loop,
        question: Question,
        upstreams: tuple[str, ...],
        done: Callable[[bytes | None], None],
        outward: Callable[[int, int], socket],
    ) -> None:
        self.loop, self.question, self.done, self.outward = loop, question, done, outward
        self.waiting = list(upstreams[:4])
        self.sockets: list[socket] = []
        self.over = False
        self.wanted = question.raw[12 : question.end].lower()
        self.next()

    def next(self) -> None:
        """Ask the next upstream, too; after the last one wait twice as long, then give up."""
        if self.over:
            return
        while self.waiting:
            server = self.waiting.pop(0)
            try:
                self.ask(server)
            except OSError:
                continue
            break
        else:
            if not self.sockets:
                self.end(None)
                return
            self.loop.later(2 * PATIENCE, lambda: self.end(None))
            return
        self.loop.later(PATIENCE, self.next)

    def ask(self, server: str) -> None:
        """Send the question to one upstream."""
        raise NotImplementedError

    def take(self, identity: bytes, data: bytes) -> None:
        """An answer, if it is one to this question."""
        size = len(self.wanted)
        if len(data) < 12 + size or data[:2] != identity or not data[2] & 0x80:
            return
        if data[12 : 12 + size].lower() != self.wanted or data[4:6] != b"\0\1":
            return
        if data[3] & 15 in (message.SERVFAIL, message.REFUSED, message.NOTIMP) and (
            self.waiting or len(self.sockets) > 1
        ):
            self.next()
            return
        # Upper and lower case as the client wrote it.
        self.end(data[:12] + self.question.raw[12 : self.question.end] + data[12 + size :])

    def end(self, answer: bytes | None) -> None:
        """Close everything, say it once."""
        if self.over:
            return
        self.over = True
        for one in self.sockets:
            self.loop.forget(one.fileno())
            one.close()
        self.done(answer)


class _UdpQuery(_Query):
    def ask(self, server: str) -> None:
        one = self.outward(_family(server), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        identity = os.urandom(2)
        try:
            one.connect((server, 53))  # then only answers of that server reach us
            one.send(identity + self.question.raw[2:])
        except OSError:
            one.close()
            raise
        self.sockets.append(one)

        def readable(events: int) -> None:
            try:
                data = one.recv(65535)
            except OSError:  # refused: the next one at once
                self.next()
                return
            self.take(identity, data)

        self.loop.watch(one.fileno(), READ, readable)


class _TcpQuery(_Query):
    def ask(self, server: str) -> None:
        one = self.outward(_family(server), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        identity = os.urandom(2)
        body = identity + self.question.raw[2:]
        left, got = bytearray(len(body).to_bytes(2, "big") + body), bytearray()
        try:
            one.connect((server, 53))
        except BlockingIOError:
            pass
        except OSError:
            one.close()
            raise
        self.sockets.append(one)

        def ready(events: int) -> None:
            try:
                if left and events & WRITE:
                    del left[: one.send(left)]
                    if not left:
                        self.loop.change(one.fileno(), READ)
                if events & READ:
                    data = one.recv(65535)
                    if not data:
                        raise ConnectionResetError
                    got.extend(data)
            except BlockingIOError:
                return
            except OSError:
                self.loop.forget(one.fileno())
                self.next()
                return
            if len(got) >= 2 and len(got) >= 2 + int.from_bytes(got[:2], "big"):
                self.take(identity, bytes(got[2 : 2 + int.from_bytes(got[:2], "big")]))

        self.loop.watch(one.fileno(), READ | WRITE, ready)


class _Stream:
    """A client that asks by TCP: two bytes of length before each message, both ways."""

    def __init__(self, resolver: Resolver, connection: socket, client: bytes) -> None:
        self.resolver, self.connection, self.client = resolver, connection, client
        self.got, self.left, self.closed = bytearray(), bytearray(), False
        connection.setblocking(False)
        resolver.tcp += 1
        resolver.loop.watch(connection.fileno(), READ, self._ready)
        self.timer = resolver.loop.later(TCP_SECONDS, self.close)

    def _ready(self, events: int) -> None:
        try:
            if events & WRITE and self.left:
                del self.left[: self.connection.send(self.left)]
            if events & READ:
                data = self.connection.recv(65535)
                if not data:
                    self.close()
                    return
                self.got += data
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        while len(self.got) >= 2 and len(self.got) >= 2 + int.from_bytes(self.got[:2], "big"):
            size = int.from_bytes(self.got[:2], "big")
            data = bytes(self.got[2 : 2 + size])
            del self.got[: 2 + size]
            self.resolver._serve(data, self.client, self._reply, tcp=True)
        self._want()

    def _reply(self, answer: bytes, *, own: bool = False) -> None:
        if not self.closed:
            self.left += len(answer).to_bytes(2, "big") + answer
            self._want()

    def _want(self) -> None:
        if not self.closed:
            self.resolver.loop.change(self.connection.fileno(), READ | WRITE if self.left else READ)

    def close(self) -> None:
        """Once."""
        if not self.closed:
            self.closed = True
            self.timer.call = None
            self.resolver.tcp -= 1
            self.resolver.loop.forget(self.connection.fileno())
            self.connection.close()
