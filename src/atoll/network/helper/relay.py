"""Carrying connections and datagrams from one socket to another, where the kernel's rules cannot.

Holds: `Splice` (two TCP sockets joined), `TcpForward` and `UdpForward` (a port of the host that leads to a
container). Bounded buffers; a half closed connection stays half closed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from _socket import (
    AF_INET,
    AF_INET6,
    SHUT_WR,
    SO_ERROR,
    SO_LINGER,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    inet_ntop,
    socket,
)

from atoll.network.helper.loop import GONE, READ, WRITE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SO_MARK = 36
_IP_TRANSPARENT, _IPV6_TRANSPARENT = (0, 19), (41, 75)
BUFFER = 1 << 18
_BULK = 1 << 20
_SPLICE = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_CHUNK = 1 << 16
UDP_SECONDS = 60.0
MOST_UDP = 2048
MOST_TCP = 8192


def reset(one: socket) -> None:
    """Close with a RST: to the other side it looks refused, not ended."""
    try:
        one.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    one.close()


class Splice:
    """Two connected (or, `there`, connecting) sockets; `first` goes to `there` before anything else. A direction that
    has carried a megabyte goes by a pipe from then on, in which bytes pass without being copied here (splice(2))."""

    def __init__(
        self, loop: Loop, here: socket, there: socket, first: bytes = b"", done: Callable[[], None] | None = None
    ) -> None:
        self.loop, self.pair, self.done = loop, (here, there), done
        self.buffers = (bytearray(first), bytearray())  # [0] is for `there`, [1] for `here`
        self.ended = [False, False]  # whether that side has said all
        self.shut = [False, False]
        self.connecting = True
        self.pipes: list[tuple[int, int] | None] = [None, None]
        self.held = [0, 0]  # bytes in each pipe
        self.full = [False, False]  # whether it takes no more, however few those are
        self.carried = [0, 0]
        loop.watch(here.fileno(), 0, lambda events: self._ready(0, events))
        loop.watch(there.fileno(), WRITE, lambda events: self._ready(1, events))

    def _ready(self, side: int, events: int) -> None:
        try:
            if side == 1 and self.connecting:
                code = self.pair[1].getsockopt(SOL_SOCKET, SO_ERROR)
                if code:
                    raise OSError(code, "connect")
                if not events & WRITE:
                    return
                self.connecting = False
            if events & (READ | GONE):
                self._read(side)
            if events & WRITE:
                self._write(side)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.close(hard=True)
            return
        if not self._finished():
            self._want()

    def _pending(self, side: int) -> int:
        return len(self.buffers[side]) + self.held[side]

    def _read(self, side: int) -> None:
        if self.ended[side] or self.full[side] or self._pending(side) >= BUFFER:
            return
        pipe = self.pipes[side]
        if pipe is not None:
            self._read_into(pipe[1], side)
            return
        data = self.pair[side].recv(_CHUNK)
        if not data:
            self.ended[side] = True
        self.buffers[side].extend(data)
        self.carried[side] += len(data)
        if data:
            self._write(1 - side)
        if self.carried[side] > _BULK and not self.buffers[side]:
            self._make_pipe(side)

    def _make_pipe(self, side: int) -> None:
        """Without descriptors to spare it goes on as it was."""
        self.carried[side] = 0
        try:
            pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return
        self.pipes[side] = pipe
        try:
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, BUFFER)
        except OSError:  # more than this user may have in pipes: it is as large as it is
            pass

    def _read_into(self, pipe: int, side: int) -> None:
        try:
            size = os.splice(self.pair[side].fileno(), pipe, BUFFER, flags=_SPLICE)
        except BlockingIOError:
            # Nothing there, or no room in the pipe: then nothing is asked until some of it has gone.
            self.full[side] = self.held[side] > 0
            raise
        if not size:
            self.ended[side] = True
        self.held[side] += size
        if size:
            self._write(1 - side)

    def _write(self, side: int) -> None:
        """What the other side has said."""
        if side == 1 and self.connecting:
            return
        other = 1 - side
        buffer, pipe = self.buffers[other], self.pipes[other]
        try:
            while buffer:
                del buffer[: self.pair[side].send(buffer)]
            while pipe is not None and self.held[other]:
                self.held[other] -= os.splice(pipe[0], self.pair[side].fileno(), self.held[other], flags=_SPLICE)
                self.full[other] = False
        except BlockingIOError:
            return
        if self.ended[other] and not self.shut[side]:
            self.shut[side] = True
            self.pair[side].shutdown(SHUT_WR)

    def _finished(self) -> bool:
        if all(self.ended):
            for side in (0, 1):
                try:
                    self._write(side)
                except OSError:
                    self.close(hard=True)
                    return True
            if not self._pending(0) and not self._pending(1):
                self.close()
                return True
        return False

    def _want(self) -> None:
        for side in (0, 1):
            events = 0
            more = not self.ended[side] and not self.full[side] and self._pending(side) < BUFFER
            if more and not (side == 1 and self.connecting):
                events |= READ
            if (
                self._pending(1 - side)
                or (self.ended[1 - side] and not self.shut[side])
                or (side == 1 and self.connecting)
            ):
                events |= WRITE
            self.loop.change(self.pair[side].fileno(), events)

    def close(self, *, hard: bool = False) -> None:
        """Both; `hard`: the other sides see a reset."""
        for one in self.pair:
            if one.fileno() >= 0:
                self.loop.forget(one.fileno())
                reset(one) if hard else one.close()
        for pipe in filter(None, self.pipes):
            os.close(pipe[0])
            os.close(pipe[1])
        self.pipes = [None, None]
        if self.done is not None:
            done, self.done = self.done, None
            done()


def connect(
    address: bytes, port: int, *, peer: str = "", mark: int = 0, make: Callable[[int, int], socket] = socket
) -> socket:
    """A connection that is on its way; `make` makes the socket. With a `mark` it comes from `peer`'s address, where
    that is of the same family and can be answered (`play`). Raises OSError."""
    family = AF_INET if len(address) == 4 else AF_INET6
    one = make(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
    try:
        if mark:
            play(one, peer, mark)
        one.connect((inet_ntop(family, address), port))
    except BlockingIOError:
        pass
    except OSError:
        one.close()
        raise
    return one


def play(one: socket, peer: str, mark: int) -> None:
    """Have a socket speak from the address of somebody else, whose answers come back by the mark
    (`rootless/rules.py`). One of loopback is nobody's elsewhere, and one of another family cannot be: those speak as
    themselves. Needs CAP_NET_ADMIN in the network namespace (ip(7), IP_TRANSPARENT). Raises OSError."""
    if (":" in peer) != (one.family == AF_INET6) or peer.startswith(("127.", "fe80:")) or peer == "::1":
        return
    one.setsockopt(SOL_SOCKET, _SO_MARK, mark)
    one.setsockopt(*(_IPV6_TRANSPARENT if one.family == AF_INET6 else _IP_TRANSPARENT), 1)
    one.bind((peer, 0))


class TcpForward:
    """What a listening socket accepts goes to an address and port; with a `mark` from its own address (`play`)."""

    def __init__(self, loop: Loop, listener: socket, address: bytes, port: int, *, mark: int = 0) -> None:
        self.loop, self.listener, self.to, self.mark = loop, listener, (address, port), mark
        self.count = 0
        listener.setblocking(False)
        loop.watch(listener.fileno(), READ, self._accept)

    def _accept(self, events: int) -> None:
        for _ in range(64):
            try:
                fd, peer = self.listener._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    time.sleep(0.05)  # until descriptors come free
                return
            here = socket(self.listener.family, SOCK_STREAM, 0, fd)
            here.setblocking(False)
            try:
                if self.count >= MOST_TCP:
                    raise OSError(errno.EMFILE, "too many connections")
                there = connect(*self.to, peer=peer[0], mark=self.mark)
            except OSError:
                reset(here)
                continue
            self.count += 1
            Splice(self.loop, here, there, done=self._less)

    def _less(self) -> None:
        self.count -= 1

    def close(self) -> None:
        """No new ones; those that there are go on."""
        self.loop.forget(self.listener.fileno())
        self.listener.close()


class UdpForward:
    """Datagrams of each peer go on from a socket of its own, and what comes back there goes back."""

    def __init__(self, loop: Loop, bound: socket, address: bytes, port: int, *, mark: int = 0) -> None:
        self.loop, self.bound, self.mark = loop, bound, mark
        self.family = AF_INET if len(address) == 4 else AF_INET6
        self.to = (inet_ntop(self.family, address), port)
        self.peers: dict[tuple[str, int], list[object]] = {}
        bound.setblocking(False)
        loop.watch(bound.fileno(), READ, self._arrived)
        self._tick()

    def _arrived(self, events: int) -> None:
        for _ in range(100):
            try:
                data, peer = self.bound.recvfrom(65535)
            except OSError:
                return
            entry = self.peers.get(peer) or self._open(peer)
            if entry is None:
                continue
            entry[1] = time.monotonic()
            out = entry[0]
            assert isinstance(out, socket)
            try:
                out.send(data)
            except OSError:  # nobody there, just now
                continue

    def _open(self, peer: tuple[str, int]) -> list[object] | None:
        if len(self.peers) >= MOST_UDP:
            return None
        out = socket(self.family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            if self.mark:
                play(out, peer[0], self.mark)
            out.connect(self.to)
        except OSError:
            out.close()
            return None

        def back(events: int) -> None:
            for _ in range(100):
                try:
                    self.bound.sendto(out.recv(65535), peer)
                except OSError:
                    return

        self.loop.watch(out.fileno(), READ, back)
        entry: list[object] = [out, time.monotonic()]
        self.peers[peer] = entry
        return entry

    def _tick(self) -> None:
        if self.bound.fileno() < 0:
            return
        old = time.monotonic() - UDP_SECONDS
        for peer, (out, used) in list(self.peers.items()):
            assert isinstance(out, socket)
            assert isinstance(used, float)
            if used < old:
                self.loop.forget(out.fileno())
                out.close()
                del self.peers[peer]
        self.loop.later(UDP_SECONDS / 2, self._tick)

    def close(self) -> None:
        """All of it."""
        for out, _ in self.peers.values():
            assert isinstance(out, socket)
            self.loop.forget(out.fileno())
            out.close()
        self.peers.clear()
        self.loop.forget(self.bound.fileno())
        self.bound.close()
