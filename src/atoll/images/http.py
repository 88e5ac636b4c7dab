"""HTTP/1.1 over a connected socket, the client's half (RFC 9110, RFC 9112).

Holds: `Headers`, `Response` with its three ways to frame a body, `send`, `receive`. Does not hold: connections
(`connection.py`), redirects (`transport.py`). Everything received is bounded: the head in bytes and in time, a body
by whoever reads it. What is malformed is `Malformed`, an OSError as a broken connection is: nothing of it is used.

Why not a library: `urllib3` costs every pull 90 ms of imports and `http.client` 30, most of what a pull takes that
finds nothing new; and connections here must go to the very address that was checked (threats 10).
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Protocol

    class Stream(Protocol):
        """The part of a socket that is used here."""

        def recv(self, size: int, /) -> bytes: ...
        def sendall(self, data: bytes, /) -> None: ...
        def settimeout(self, seconds: float | None, /) -> None: ...


MAX_HEAD = 64 << 10
_RECV = 64 << 10
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Malformed(ConnectionError):
    """The other side does not speak HTTP, or broke off in the middle of it."""


class Headers:
    """Header fields; names in any case. A field given several times has several values."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]

    def get(self, name: str, default: str = "") -> str:
        """The first value of a field."""
        wanted = name.lower()
        return next((value for key, value in self._pairs if key == wanted), default)

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        wanted = name.lower()
        return [value for key, value in self._pairs if key == wanted]

    def __contains__(self, name: str) -> bool:
        return name.lower() in [key for key, _ in self._pairs]


class Wire:
    """A socket with a buffer for what was received beyond what was asked for."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.buffer = b""

    def take(self, most: int) -> bytes:
        """What is there, or what comes next; empty at the end of the stream."""
        if self.buffer:
            piece, self.buffer = self.buffer[:most], self.buffer[most:]
            return piece
        return self.stream.recv(most)

    def line(self, limit: int) -> bytes:
        """One line without its end. Raises Malformed when it is longer than `limit` or the stream ends."""
        while (end := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > limit:
                raise Malformed("a line without end")
            more = self.stream.recv(_RECV)
            if not more:
                raise Malformed("the connection ended in the middle of an answer")
            self.buffer += more
        line, self.buffer = self.buffer[:end], self.buffer[end + 1 :]
        return line.removesuffix(b"\r")


class Response:
    """An answer whose body is still to be read. `persistent` once it was read to its end over a connection that
    stays."""

    def __init__(self, wire: Wire, status: int, headers: Headers, *, bodiless: bool, stays: bool) -> None:
        self.status = status
        self.headers = headers
        self.release: Callable[[], None] = _nothing
        """Set by the transport: the connection may serve another request."""
        self._wire = wire
        self._stays = stays
        self._left = 0
        self._chunked = False
        self.ended = False
        if bodiless:
            self.ended = True
        else:
            self._frame()

    @property
    def persistent(self) -> bool:
        """Whether the connection can serve another request."""
        return self._stays and self.ended and not self._wire.buffer

    def _frame(self) -> None:
        """How long the body is (RFC 9112, 6.3). Two answers to that are how requests are smuggled: refused."""
        coding = ", ".join(self.headers.all("Transfer-Encoding")).strip().lower()
        lengths = {one.strip() for value in self.headers.all("Content-Length") for one in value.split(",")}
        if coding:
            if coding != "chunked" or lengths:
                raise Malformed(f"a body framed as {coding!r} that cannot be read")
            self._chunked = True
        elif lengths:
            text = lengths.pop()
            if lengths or not (text.isascii() and text.isdecimal()) or len(text) > 18:
                raise Malformed("a Content-Length that is no number")
            self._left = int(text)
            self.ended = self._left == 0
        else:
            self._left = -1  # to the end of the connection
            self._stays = False

    def read1(self, most: int) -> bytes:
        """Some bytes of the body, as they come; empty at its end. Raises OSError; Malformed for one cut short."""
        if self.ended:
            return b""
        if self._chunked and self._left == 0 and not self._next_chunk():
            return b""
        piece = self._wire.take(most if self._left < 0 else min(most, self._left))
        if not piece:
            if self._left < 0:
                self.ended = True
                return b""
            raise Malformed("the connection ended in the middle of a body")
        if self._left > 0:
            self._left -= len(piece)
            if self._left == 0:
                if self._chunked:
                    self._wire.line(2)
                else:
                    self.ended = True
        return piece

    def _next_chunk(self) -> bool:
        size = self._wire.line(256).partition(b";")[0].strip()
        if not size or len(size) > 15 or not frozenset(size.lower()) <= frozenset(b"0123456789abcdef"):
            raise Malformed("a chunk without its size")
        self._left = int(size, 16)
        if self._left:
            return True
        for _ in range(64):
            if not self._wire.line(MAX_HEAD):
                self.ended = True
                return False
        raise Malformed("a trailer without end")


def _nothing() -> None:
    return


def send(
    stream: Stream,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | Iterable[bytes] | None = None,
) -> None:
    """Write one request; `headers` hold Content-Length if `body` is not bytes. Raises OSError; ValueError for a
    header that would break the framing."""
    length = {"Content-Length": str(len(body))} if isinstance(body, bytes) else {}
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in {**headers, **length}.items():
        if not _TOKEN.issuperset(name) or not value.isascii() or not value.isprintable():
            raise ValueError(f"the header {name} cannot be sent")
        lines.append(f"{name}: {value}")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    if body is None or isinstance(body, bytes):
        stream.sendall(head + (body or b""))
        return
    stream.sendall(head)
    for piece in body:
        stream.sendall(piece)


def receive(wire: Wire, method: str, seconds: float) -> Response:
    """The head of the answer to a request, within `seconds`; interim answers (1xx) are passed over.

    Raises Malformed, TimeoutError, OSError.
    """
    deadline = time.monotonic() + seconds
    for _ in range(8):
        status, headers, stays = _head(wire, deadline)
        if status >= 200:
            wire.stream.settimeout(seconds)
            bodiless = method == "HEAD" or status in (204, 304)
            return Response(wire, status, headers, bodiless=bodiless, stays=stays)
    raise Malformed("interim answers only")


def _head(wire: Wire, deadline: float) -> tuple[int, Headers, bool]:
    while (end := wire.buffer.find(b"\r\n\r\n")) < 0 and b"\n\n" not in wire.buffer:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        if len(wire.buffer) > MAX_HEAD:
            raise Malformed("the head of an answer is too long")
        wire.stream.settimeout(left)
        more = wire.stream.recv(_RECV)
        if not more:
            raise Malformed(
                "the connection ended in the middle of an answer"
                if wire.buffer
                else "the connection ended unanswered"
            )
        wire.buffer += more
    if end < 0:
        raise Malformed("an answer with bare line ends")
    head, wire.buffer = wire.buffer[:end], wire.buffer[end + 4 :]
    first, *rest = head.decode("latin-1").split("\r\n")
    version, _, after = first.partition(" ")
    code = after.partition(" ")[0]
    if version not in ("HTTP/1.1", "HTTP/1.0") or len(code) != 3 or not code.isdecimal():
        raise Malformed("no HTTP answer")
    headers = Headers([_field(line) for line in rest])
    told = headers.get("Connection").lower()
    return int(code), headers, "close" not in told and (version == "HTTP/1.1" or "keep-alive" in told)


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    value = value.strip(" \t")
    if not colon or not name or not _TOKEN.issuperset(name) or "\0" in value or "\r" in value or "\n" in value:
        raise Malformed("a header field that is none")
    return name, value
