"""Threads and gates on `_thread` alone: `threading` takes 6 ms to import with what it wants, a tenth of a small pull.

Holds: `Gate`, which is opened once, `start`, `each`. Does not hold: locks (`_thread.allocate_lock`), queues
(`_queue.SimpleQueue`, the C half of `queue`).
"""

from __future__ import annotations

import _thread
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    A = TypeVar("A")
    B = TypeVar("B")


_LOOK = 0.5
"""Seconds after which a waiting thread looks again whether the gate was opened."""


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
        until = time.monotonic() + seconds
        while not self._opened.locked():
            left = _LOOK if seconds < 0 else until - time.monotonic()
            # An interrupt between the next two lines keeps the lock: hence the look at the other one, now and then.
            if self._closed.acquire(timeout=max(0.0, min(left, _LOOK))):
                self._closed.release()
            elif seconds >= 0 and time.monotonic() >= until:
                return self._opened.locked()
        return True


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


def each(items: Sequence[A], work: Callable[[A], B], *, at_once: int, stop: Callable[[], object]) -> list[B]:
    """`work` on each item, so many at a time; what came of them, in their order.

    After the first failure (an interrupt of the caller is one) `stop` is called, nothing more is begun, and what was
    begun is waited for; then that failure is raised.
    """
    done: dict[int, B] = {}
    waiting = list(enumerate(items))
    failures: list[BaseException] = []
    lock = _thread.allocate_lock()

    def following() -> tuple[int, A] | None:
        with lock:
            return waiting.pop(0) if waiting and not failures else None

    def fail(error: BaseException) -> None:
        with lock:
            failures.append(error)
            first = len(failures) == 1
        if first:
            stop()

    def run() -> None:
        while (job := following()) is not None:
            try:
                done[job[0]] = work(job[1])
            except BaseException as error:  # noqa: BLE001 - carried to the calling thread
                fail(error)

    ends = [start(run) for _ in range(min(at_once, len(waiting)))]
    try:
        for end in ends:
            end.wait()
    except BaseException as error:
        fail(error)
        for end in ends:
            end.wait()
        raise
    if failures:
        raise failures[0]
    return [done[index] for index in range(len(items))]
