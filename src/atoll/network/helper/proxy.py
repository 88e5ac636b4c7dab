"""TCP to a name that a policy allows: the first bytes must say the name, then the connection goes on as it was meant.

Holds: `Proxy`, and reading a ClientHello (RFC 8446) and a Host header (RFC 9110) strictly. What says no name, another
name, or speaks neither TLS nor HTTP is reset. An encrypted ClientHello is judged by its outer name: the inner one
cannot be seen, and the keys for it are not given out by our resolver.
"""

from __future__ import annotations

import struct
from _socket import AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, inet_pton, socket

from atoll.network import addresses
from atoll.network.helper import relay
from atoll.network.helper.gate import Gate
from atoll.network.helper.loop import READ, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SO_ORIGINAL_DST = 80
HELLO_MAX = 16 << 10
HELLO_SECONDS = 10.0
MOST = 4096
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ")


class NotSaid(ValueError):
    """No name in what was read; the text says why."""


def name_in(data: bytes) -> str | None:
    """The name that a connection's first bytes say, in lower case; None while they are not complete. Raises
    NotSaid."""
    if not data:
        return None
    if data[0] == 0x16:
        return _server_name(data)
    if any(data[: len(m)] == m[: len(data)] for m in _METHODS):
        return _host_header(data)
    raise NotSaid("neither TLS nor HTTP")


def _server_name(data: bytes) -> str | None:
    """From a ClientHello, which may come in several records."""
    hello, at = b"", 0
    while True:
        if len(data) < at + 5:
            return None
        kind, version, size = struct.unpack_from(">BHH", data, at)
        if kind != 0x16 or version >> 8 != 3 or not 0 < size <= 16384:
            raise NotSaid("not a TLS handshake")
        if len(data) < at + 5 + size:
            return None
        hello += data[at + 5 : at + 5 + size]
        at += 5 + size
        if len(hello) >= 4:
            if hello[0] != 1:
                raise NotSaid("not a ClientHello")
            if len(hello) >= 4 + int.from_bytes(hello[1:4], "big"):
                break
    return _extension(hello[4 : 4 + int.from_bytes(hello[1:4], "big")])


def _extension(body: bytes) -> str:
    try:
        at = 34
        at += 1 + body[at]
        at += 2 + int.from_bytes(body[at : at + 2], "big")
        at += 1 + body[at]
        end = at + 2 + int.from_bytes(body[at : at + 2], "big")
        at += 2
        while at + 4 <= min(end, len(body)):
            kind, size = struct.unpack_from(">HH", body, at)
            if kind == 0:
                listed = body[at + 4 : at + 4 + size]
                if len(listed) < 5 or listed[2] != 0:
                    raise NotSaid("a server name of an unknown kind")
                length = int.from_bytes(listed[3:5], "big")
                if length != len(listed) - 5 or int.from_bytes(listed[:2], "big") != len(listed) - 2:
                    raise NotSaid("several server names")
                return _clean(listed[5:])
            at += 4 + size
    except IndexError:
        raise NotSaid("a broken ClientHello") from None
    raise NotSaid("a ClientHello without a server name")


def _host_header(data: bytes) -> str | None:
    head, blank, _ = data.partition(b"\r\n\r\n")
    if not blank:
        return None
    lines = head.split(b"\r\n")
    if data.startswith(b"CONNECT "):
        raise NotSaid("a CONNECT request")
    words = lines[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        raise NotSaid("not HTTP/1")
    if not words[1].startswith((b"/", b"*")):
        raise NotSaid("a request for a proxy")
    found = [line[5:].strip() for line in lines[1:] if line[:5].lower() == b"host:"]
    if any(line[:1] in (b" ", b"\t") or b"\n" in line or b"\r" in line for line in lines[1:]) or len(found) != 1:
        raise NotSaid("not exactly one Host")
    host, _, port = found[0].partition(b":")
    if port and not port.isdigit():
        raise NotSaid("a Host that is no name")
    return _clean(host)


def _clean(raw: bytes) -> str:
    name = raw.decode("latin-1").lower().rstrip(".")
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        raise NotSaid("a name that is none")
    return name


class Proxy:
    """Listens where the rules redirect to; `gate` knows the policies, `outward` makes the sockets that go on."""

    def __init__(self, loop: Loop, gate: Gate, outward: Callable[[int, int], socket] = socket) -> None:
        self.loop, self.gate, self.outward = loop, gate, outward
        self.count = 0
        self.listeners: list[socket] = []

    def listen(self) -> int:
        """One port for IPv4 and IPv6. Raises OSError."""
        for family in (AF_INET, AF_INET6):
            one = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
            if family == AF_INET6:
                one.setsockopt(41, 26, 1)  # IPPROTO_IPV6, IPV6_V6ONLY
            one.bind(("0.0.0.0" if family == AF_INET else "::", self.gate.port))
            one.listen(1024)
            self.gate.port = one.getsockname()[1]
            self.listeners.append(one)
            self.loop.watch(one.fileno(), READ, lambda events, one=one: self._accept(one))  # type: ignore[misc]
        return self.gate.port

    def _accept(self, listener: socket) -> None:
        try:
            fd, peer = listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        here = socket(listener.family, SOCK_STREAM, 0, fd)
        here.setblocking(False)
        client = inet_pton(listener.family, peer[0].partition("%")[0])
        try:
            target, port = original_target(here)
        except OSError:
            target, port = b"", 0
        # One that came to this port by itself was redirected by nobody.
        if not target or port == self.gate.port or self.count >= MOST or not self.gate.limits(client):
            relay.reset(here)
            return
        self.count += 1
        _Caller(self, here, client, target, port)

    def close(self) -> None:
        """No new ones."""
        for one in self.listeners:
            self.loop.forget(one.fileno())
            one.close()


def original_target(here: socket) -> tuple[bytes, int]:
    """Where a connection was going before it was redirected. Raises OSError."""
    if here.family == AF_INET:
        data = here.getsockopt(0, SO_ORIGINAL_DST, 16)
        return data[4:8], int.from_bytes(data[2:4], "big")
    data = here.getsockopt(41, SO_ORIGINAL_DST, 28)
    return data[8:24], int.from_bytes(data[2:4], "big")


class _Caller:
    """One connection until its name is known."""

    def __init__(self, proxy: Proxy, here: socket, client: bytes, target: bytes, port: int) -> None:
        self.proxy, self.here, self.client, self.target, self.port = proxy, here, client, target, port
        self.got = b""
        self.timer = proxy.loop.later(HELLO_SECONDS, lambda: self._refuse("it says nothing"))
        proxy.loop.watch(here.fileno(), READ, self._ready)

    def _ready(self, events: int) -> None:
        try:
            data = self.here.recv(HELLO_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self.got += data
        try:
            name = name_in(self.got)
        except NotSaid as reason:
            self._refuse(str(reason))
            return
        if name is None:
            if len(self.got) > HELLO_MAX:
                self._refuse("no name in its first 16 KiB")
            return
        gate = self.proxy.gate
        if not gate.allows(self.client, name, self.port):
            self._refuse(f"it says {name}, which no rule allows")
        elif not gate.stands_for(self.client, self.target, name):
            self._refuse(f"it says {name}, which does not lead there")
        else:
            self._go_on()

    def _go_on(self) -> None:
        self.timer.call = None
        self.proxy.loop.forget(self.here.fileno())
        try:
            there = relay.connect(self.target, self.port, make=self.proxy.outward)
        except OSError:
            relay.reset(self.here)
            self.proxy.count -= 1
            return
        relay.Splice(self.proxy.loop, self.here, there, self.got, done=self._less)

    def _less(self) -> None:
        self.proxy.count -= 1

    def _refuse(self, reason: str) -> None:
        container = self.proxy.gate.containers.get(self.client, "")
        self.proxy.gate.tell(container, f"tcp {addresses.show(self.target)}:{self.port}", reason)
        self._end()

    def _end(self) -> None:
        self.timer.call = None
        self.proxy.loop.forget(self.here.fileno())
        relay.reset(self.here)
        self.proxy.count -= 1
