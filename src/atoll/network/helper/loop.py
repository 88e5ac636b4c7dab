"""An event loop of epoll and timers, and nothing else.

Holds: `Loop`. Callbacks get the events; one that raises OSError is a fault of its own peer, told on standard error,
and never ends the loop.
"""

from __future__ import annotations

import heapq
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR


class Timer:
    """A call that is to come; `cancel` it by setting `call` to None."""

    __slots__ = ("at", "call")

    def __init__(self, at: float, call: Callable[[], object] | None) -> None:
        self.at, self.call = at, call

    def __lt__(self, other: Timer) -> bool:
        return self.at < other.at


class Loop:
    """One thread's events. `stop` ends `run` after the present round."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._calls: dict[int, Callable[[int], None]] = {}
        self._timers: list[Timer] = []
        self.running = True

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        """Call on events of a descriptor."""
        self._calls[fd] = call
        self._poll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Other events for it."""
        if fd in self._calls:
            self._poll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """No calls for it any more; to be said before it is closed."""
        if self._calls.pop(fd, None) is not None:
            try:
                self._poll.unregister(fd)
            except (OSError, ValueError):
                pass

    def later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Call after so long."""
        timer = Timer(time.monotonic() + seconds, call)
        heapq.heappush(self._timers, timer)
        return timer

    def stop(self) -> None:
        """End `run`."""
        self.running = False

    def run(self) -> None:
        """Until `stop`."""
        while self.running:
            for fd, events in self._poll.poll(self._wait(), 64):
                call = self._calls.get(fd)
                if call is None:
                    continue
                try:
                    call(events)
                except OSError as fault:
                    self.forget(fd)
                    print(f"net helper: {fault}", file=sys.stderr)  # noqa: T201 - the faults file
            now = time.monotonic()
            while self._timers and self._timers[0].at <= now:
                timer = heapq.heappop(self._timers)
                if timer.call is not None:
                    timer.call()

    def _wait(self) -> float:
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0].at - time.monotonic()) if self._timers else -1
