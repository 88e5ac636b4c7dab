"""Threads and gates on `_thread` alone: `threading` takes 6 ms to import with what it wants, a tenth of a small pull.

Holds: `Gate`, which is opened once, and `start`. Does not hold: locks (`_thread.allocate_lock`), queues
(`_queue.SimpleQueue`, the C half of `queue`).
"""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Gate:
    """Closed until somebody opens it, for good; any number of threads may open it and wait for that."""

    __slots__ = ("_closed", "_opened")

    def __init__(self) -> None:
        self._closed = _thread.allocate_lock()
        self._closed.acquire()
        self._opened = _thread.allocate_lock()

    def open(self) -> None:
        """Let all through. Twice is fine."""
        if self._opened.acquire(blocking=False):
            self._closed.release()

    @property
    def is_open(self) -> bool:
        """Whether it was opened."""
        return self._opened.locked()

    def wait(self, seconds: float = -1) -> bool:
        """Wait until it is open, so long at most (negative: for ever); whether it is."""
        if self._closed.acquire(timeout=seconds):
            self._closed.release()
            return True
        return False


def start(work: Callable[..., object], *arguments: object) -> Gate:
    """Run `work(*arguments)` in a thread, which does not keep the process from ending. The gate opens at its end.

    `work` must not raise: there is nobody to hear of it.
    """
    ended = Gate()

    def body() -> None:
        try:
            work(*arguments)
        finally:
            ended.open()

    _thread.start_new_thread(body, ())
    return ended
