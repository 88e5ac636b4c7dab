"""Moves a process' standard streams between its pipes or terminal, the log and the attached commands.

Holds: `Relay`. Does not hold: the meaning of control messages (its owner's `on_message`), opening streams
(`stdio.py`).
Bounds: at most one read (64 KiB) of output and HIGH queued bytes a peer, WINDOW bytes of input a peer. A peer that
does not read stops the output of the container, as with Docker; without peers the output always flows.
"""

from __future__ import annotations

import os
from _collections import deque  # type: ignore[import-not-found]

from atoll.base.loop import POLLIN, POLLOUT, Loop
from atoll.monitor.peer import Peer
from atoll.monitor.protocol import CONTROL, DATA_MAX, STDIN, Malformed, parse_control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Log = Callable[[int, bytes], None]


class Relay:
    """`log(stream, data)` gets all output; `on_message(peer, message)` each control message; `on_gone(peer)` is
    called once for a peer that left or was dropped."""

    def __init__(
        self,
        loop: Loop,
        *,
        log: Log | None,
        on_message: Callable[[Peer, dict[str, Any]], None],
        on_gone: Callable[[Peer], None],
    ) -> None:
        self.loop = loop
        self.log = log
        self.peers: list[Peer] = []
        self.received = 0
        self._on_message, self._on_gone = on_message, on_gone
        self._outputs: dict[int, int] = {}
        self._held = False
        self._lifted = False
        self._input = -1
        self._input_is_terminal = False
        self._pending: deque[tuple[Peer | None, bytearray | None]] = deque()

    def turn(self, timeout: float | None) -> None:
        """One turn of the loop; peers found gone or dropped in it are removed at its end."""
        self.loop.turn(timeout)
        for peer in [peer for peer in self.peers if peer.gone]:
            self.remove_peer(peer)

    # -- output

    def add_output(self, stream: int, fd: int) -> None:
        """Read a non-blocking descriptor to its end; the relay closes it then."""
        self._outputs[fd] = stream
        self.loop.watch(fd, POLLIN, lambda _: self._read(fd))

    @property
    def open_outputs(self) -> bool:
        """Whether an output has not reached its end."""
        return bool(self._outputs)

    def lift(self) -> None:
        """The process has ended: take what it left, whoever does not read."""
        self._lifted = True
        self._hold()

    def close_outputs(self) -> None:
        """Give up on outputs that have not reached their end."""
        for fd in list(self._outputs):
            self._end_output(fd)

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, DATA_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # EIO: a terminal whose last user has closed it, pty(7)
            data = b""
        if not data:
            self._end_output(fd)
            return
        stream = self._outputs[fd]
        self.received += len(data)
        if self.log is not None:
            self.log(stream, data)
        for peer in self.peers:
            if peer.output:
                peer.send_output(stream, data)
                self._interest(peer)
        self._hold()

    def _end_output(self, fd: int) -> None:
        self.loop.forget(fd)
        del self._outputs[fd]
        os.close(fd)

    def _hold(self) -> None:
        held = not self._lifted and any(peer.blocked and peer.output for peer in self.peers)
        if held == self._held:
            return
        self._held = held
        for fd in self._outputs:
            # Not "no events": poll(2) reports POLLHUP whether asked or not, and the loop would spin on it.
            if held:
                self.loop.forget(fd)
            else:
                self.loop.watch(fd, POLLIN, lambda _, fd=fd: self._read(fd))  # type: ignore[misc]

    # -- input

    def set_input(self, fd: int, *, terminal: bool = False) -> None:
        """Where stream 0 goes: a non-blocking descriptor, which the relay closes. A terminal has no end of input."""
        self._input, self._input_is_terminal = fd, terminal

    def close_input(self) -> None:
        """End the input once what waits is written."""
        if self._input >= 0 and not self._input_is_terminal:
            self._pending.append((None, None))
            self._write()

    @property
    def pending_input(self) -> bool:
        """Whether input waits to be written."""
        return bool(self._pending)

    def release_input(self) -> int:
        """Give the input's descriptor back, -1 if it was closed. Nothing may be pending."""
        fd, self._input = self._input, -1
        if fd >= 0:
            self.loop.forget(fd)
        return fd

    def drop_input(self) -> None:
        """End the input now; what waits is lost and its senders get their window back."""
        if self._input >= 0:
            self.loop.forget(self._input)
            os.close(self._input)
            self._input = -1
        while self._pending:
            peer, data = self._pending.popleft()
            if peer is not None and data is not None and peer in self.peers:
                peer.credit(len(data))
                self._interest(peer)

    def _feed(self, peer: Peer, data: bytes) -> None:
        peer.take(len(data))
        last = self._pending[-1] if self._pending else (None, None)
        if last[0] is peer and last[1] is not None and len(last[1]) < DATA_MAX:
            last[1].extend(data)  # many small frames must not become many small objects
        else:
            self._pending.append((peer, bytearray(data)))
        self._write()

    def _write(self, _: int = 0) -> None:
        if self._input < 0:
            self.drop_input()
            return
        while self._pending:
            peer, data = self._pending[0]
            if data is None:
                self.drop_input()
                return
            try:
                sent = os.write(self._input, data)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # EPIPE: the process closed its input; EIO: the terminal is gone
                self.drop_input()
                return
            del data[:sent]
            if not data:
                self._pending.popleft()
            if peer is not None and peer in self.peers:
                peer.credit(sent)
                self._interest(peer)
        if self._pending and not self.loop.watches(self._input):
            self.loop.watch(self._input, POLLOUT, self._write)
        elif not self._pending:
            self.loop.forget(self._input)

    # -- peers

    def add_peer(self, peer: Peer) -> None:
        """Serve a peer until it leaves."""
        self.peers.append(peer)
        self.loop.watch(peer.socket.fileno(), POLLIN, lambda events: self._serve(peer, events))

    def remove_peer(self, peer: Peer) -> None:
        """Close a peer's connection; one that has been removed is fine."""
        if peer not in self.peers:
            return
        self.peers.remove(peer)
        peer.gone = True
        self.loop.forget(peer.socket.fileno())
        peer.socket.close()
        self._hold()
        self._on_gone(peer)

    def tell(self, peer: Peer, message: dict[str, Any]) -> None:
        """Queue a control message for one peer."""
        peer.tell(message)
        self._interest(peer)

    def tell_all(self, message: dict[str, Any]) -> None:
        """Queue a control message for every known peer."""
        for peer in list(self.peers):
            if peer.known:
                self.tell(peer, message)

    def _interest(self, peer: Peer) -> None:
        if peer in self.peers:
            self.loop.change(peer.socket.fileno(), POLLIN | POLLOUT if peer.waiting else POLLIN)

    def _serve(self, peer: Peer, events: int) -> None:
        try:
            if events & POLLOUT:
                peer.flush()
                self._interest(peer)
                self._hold()
            if events & ~POLLOUT and not peer.gone:
                self._take(peer)
        except Malformed:
            self.remove_peer(peer)

    def _take(self, peer: Peer) -> None:
        frames = peer.receive()
        if frames is None:
            self.remove_peer(peer)
            return
        for stream, data in frames:
            if peer.gone:
                return
            if stream == CONTROL:
                self._on_message(peer, parse_control(data))
            elif stream == STDIN and peer.input:
                self._feed(peer, data)
            else:
                raise Malformed(f"unexpected data of stream {stream}")
