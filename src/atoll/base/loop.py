"""A poll(2) loop with one handler a descriptor, and the self-pipe that turns SIGCHLD into an event.

Holds: `Loop`, `watch_children`. Does not hold: what is watched. `_signal` directly: the `signal` module imports
`enum`. Deadlines are monotonic: a clock that jumps moves none of them.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

POLLIN, POLLOUT = select.POLLIN, select.POLLOUT


class Loop:
    """Calls `handler(events)` of each descriptor that is ready. Descriptors stay their owners' to close, after
    `forget`."""

    __slots__ = ("_handlers", "_poll")

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler` from now on; replaces an earlier one."""
        self._poll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of a watched descriptor."""
        self._poll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching; one that is not watched is fine."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def watches(self, fd: int) -> bool:
        """Whether the descriptor is watched."""
        return fd in self._handlers

    def turn(self, timeout: float | None) -> None:
        """Wait for at most `timeout` seconds (None: for ever) and serve what is ready."""
        for fd, events in self._poll.poll(None if timeout is None else max(0.0, timeout) * 1000 + 0.5):
            handler = self._handlers.get(fd)
            if handler is not None:  # a handler before it in this turn may have forgotten it
                handler(events)


def until(deadline: float | None) -> float | None:
    """Seconds left until a `time.monotonic()` deadline, for `turn`."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def watch_children(loop: Loop, reap: Callable[[], None]) -> int:
    """Call `reap` whenever a child has ended. Returns the descriptor in use, to be forgotten by a fork's child."""
    out, into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    _signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, _nothing)

    def woken(_: int) -> None:
        try:
            while os.read(out, 512):
                pass
        except BlockingIOError:
            pass
        reap()

    loop.watch(out, POLLIN, woken)
    return out


def _nothing(signum: int, frame: object) -> None:
    """A handler that does nothing, so that SIGCHLD reaches the wake-up descriptor."""


def children() -> list[tuple[int, int]]:
    """Reap every child that has ended: (pid, wait status)."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not pid:
            return ended
        ended.append((pid, status))
