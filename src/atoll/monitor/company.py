"""What a container's monitor and an exec session have in common: one process, its streams, its commands, its end.

Holds: `Company`. Does not hold: creating the process and what follows its end (`monitor.py`, `session.py`).

The end of output: a process that has ended may leave others that hold its output open (a background job of an exec,
a container in the host's pid namespace). What is in the pipes is always taken; then a QUIET pause, DRAIN_SECONDS or
DRAIN_BYTES end it, so that nobody waits for a forgotten `sleep`. Podman decides the same.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

from atoll.base import errors, jsontext
from atoll.base.loop import POLLIN, Loop, children, watch_children
from atoll.linux import process, tty
from atoll.monitor.protocol import STDERR, STDOUT, Malformed
from atoll.monitor.relay import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.monitor.peer import Peer
    from atoll.monitor.relay import Log

QUIET = 0.1
DRAIN_SECONDS = 2.0
DRAIN_BYTES = 4 << 20
FLUSH_SECONDS = 600.0
"""How long a monitor stays for a command that is connected and does not read what is left for it."""

IGNORED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGPIPE", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2")


class Company:
    """Attends one process until it and its output have ended. Subclasses say what messages and the end mean."""

    def __init__(self, log: Log | None = None) -> None:
        self.loop = Loop()
        self.relay = Relay(self.loop, log=log, on_message=self.on_message, on_gone=self.on_gone)
        self.pid = 0
        self.pidfd = -1
        self.status: int | None = None
        self.started = False
        self.failure: errors.AtollError | None = None
        self._console = -1
        self._sync = -1
        self._own_child = True
        watch_children(self.loop, self.reap)

    # -- what subclasses say

    def on_message(self, peer: Peer, message: dict[str, Any]) -> None:
        """A control message of a peer. Raises Malformed to drop the peer."""
        self.common(peer, message)

    def on_gone(self, peer: Peer) -> None:
        """A peer has left."""

    def on_started(self) -> None:
        """The program was exec'd."""

    def on_failed(self, failure: errors.AtollError) -> None:
        """The program could not be exec'd; the process ends by itself."""

    # -- the process and its streams

    def attend(self, pid: int, fds: dict[str, int], *, own_child: bool = True) -> None:
        """Take over a process and its descriptors by their names (`creator.Made`). Unless it is our `own_child`,
        somebody else takes in its end and tells."""
        self.pid, self.pidfd, self._own_child = pid, fds["pidfd"], own_child
        if "console" in fds:
            self._console = fds["console"]
            os.set_blocking(self._console, False)
            self.relay.add_output(STDOUT, os.dup(self._console))
            self.relay.set_input(os.dup(self._console), terminal=True)
        for name, stream in (("stdout", STDOUT), ("stderr", STDERR)):
            if name in fds:
                self.relay.add_output(stream, fds[name])
        if "stdin" in fds:
            self.relay.set_input(fds["stdin"])
        self._sync = fds.get("sync", -1)
        if self._sync >= 0:
            self.loop.watch(self._sync, POLLIN, lambda _: self._heard())
        self.reap()

    def _heard(self) -> None:
        """The init's word: end of file once the program runs, otherwise its error."""
        killed = False
        try:
            word = os.read(self._sync, 1 << 16)
        except ConnectionResetError:
            # It ended before it had read what the creator said, so it ran nothing. The kernel tells that once, before
            # the last word of the other side, if there is one.
            word, killed = os.read(self._sync, 1 << 16), True
        self.loop.forget(self._sync)
        os.close(self._sync)
        self._sync = -1
        if word:
            self.failure = _failure(word)
            self.on_failed(self.failure)
        elif not killed and self.program_runs():
            self.started = True
            self.on_started()

    def program_runs(self) -> bool:
        """Whether the end of file on the sync socket means an execve, not an init that was killed before."""
        return True

    def reap(self) -> None:
        """Take in every child that has ended: the process itself, and orphans that came to this subreaper."""
        for pid, status in children():
            if pid == self.pid:
                self.status = status

    def until_ended(self) -> None:
        """Serve until the process has ended and its output is taken."""
        while self.status is None:
            self.relay.turn(None)
        if self._sync >= 0:
            self._heard()
        self._drain()
        self.relay.drop_input()

    def _drain(self) -> None:
        """Take what the process left, by the rule at the top."""
        self.relay.lift()
        start = heard = time.monotonic()
        before = received = self.relay.received
        while self.relay.open_outputs:
            now = time.monotonic()
            if self.relay.received != received:
                received, heard = self.relay.received, now
            if now - heard >= QUIET or now - start >= DRAIN_SECONDS or received - before >= DRAIN_BYTES:
                break
            self.relay.turn(QUIET - (now - heard))
        # The time may have passed without us: on a busy host that says nothing of the pipes.
        last = -1
        while self.relay.open_outputs and last < received - before < DRAIN_BYTES:
            last = received - before
            self.relay.turn(0)
            received = self.relay.received
        self.relay.close_outputs()

    def flush(self, keep: bool = False) -> None:
        """Serve peers until each has what is queued for it (with `keep`: and has left), or takes nothing for
        FLUSH_SECONDS."""
        deadline = time.monotonic() + FLUSH_SECONDS
        while any(keep or peer.waiting for peer in self.relay.peers) and time.monotonic() < deadline:
            self.relay.turn(deadline - time.monotonic())

    # -- messages that mean the same to both

    def common(self, peer: Peer, message: dict[str, Any]) -> None:
        """resize, signal, close-stdin, detach. Raises Malformed for others."""
        do = message.get("do")
        try:
            if do == "resize":
                self.resize(_integer(message, "rows", 0xFFFF), _integer(message, "cols", 0xFFFF))
            elif do == "signal":
                self.signal(_integer(message, "signal", 64))
            elif do == "close-stdin":
                peer.input = False
                self.relay.close_input()
            elif do == "detach":
                peer.input = peer.promise = False
                self.relay.remove_peer(peer)
            else:
                raise Malformed(f"unknown request {do!r}")
        except OSError as error:
            failure = errors.from_os_error(error, f"do {do!r}")
            self.relay.tell(peer, {"is": "warning", "error": failure.to_json()})

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; without a terminal nothing. Raises OSError."""
        if self._console >= 0:
            tty.set_window_size(self._console, rows, columns)

    def signal(self, number: int) -> None:
        """Send a signal to the process; one that has ended is fine. Raises OSError."""
        try:
            process.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass


def ignore_terminals() -> None:
    """Be deaf to what terminals and log-outs send, and so be every fork's. Raises OSError."""
    for name in IGNORED:
        _signal.signal(getattr(_signal, name), _signal.SIG_IGN)


def _integer(message: dict[str, Any], key: str, most: int) -> int:
    value = message.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise Malformed(f"{key} of {message.get('do')!r} is not a number up to {most}")
    return value


def _failure(word: bytes) -> errors.AtollError:
    try:
        message = jsontext.loads(word)
    except ValueError:
        return errors.Internal(f"the init said {word[:200]!r}")
    return errors.from_json(message.get("error", message) if isinstance(message, dict) else message)
