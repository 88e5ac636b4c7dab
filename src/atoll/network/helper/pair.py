"""A worker and its spare, which replace one another: whichever of the two is killed, the other makes it good.

Holds: `Pair`. Does not hold: what the worker does.

    worker   does the work; watches its spare and forks another when that is killed
    spare    waits for the worker's end, and becomes the worker when that was no clean one
A worker that says `over` before it ends takes its spare along.
"""

from __future__ import annotations

import os
import select
import sys
import time

from atoll.linux import process
from atoll.linux.title import set_title
from atoll.network.helper.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.network.helper.loop import Loop

_FORKS_A_MINUTE = 10


class Pair:
    """`titles` are what `ps` shows for worker and spare; `work` is called with this pair and whether it follows one
    that was killed; `keep` are the descriptors that a spare forked later has of the worker's."""

    def __init__(self, titles: tuple[str, str], work: Callable[[Pair, bool], None], keep: tuple[int, ...]) -> None:
        self.titles, self.work, self.keep = titles, work, keep
        self._finished, self._spare = -1, -1

    def live(self, *, again: bool = False) -> None:
        """Be the worker, or its spare, whichever this process is just now, until the work is over."""
        started: list[float] = []
        while True:
            started = [one for one in started if time.monotonic() - one < 60]
            if len(started) >= _FORKS_A_MINUTE:
                time.sleep(5)
            started.append(time.monotonic())
            pidfd = process.pidfd_open(os.getpid())
            done, self._finished = os.pipe2(os.O_CLOEXEC)
            self._spare = os.fork()
            if self._spare:
                os.close(done)
                os.close(pidfd)
                set_title(self.titles[0].encode())
                self.work(self, len(started) > 1 or again)
                return
            os.close(self._finished)
            set_title(self.titles[1].encode())
            if _watch(pidfd, done):
                return
            os.close(pidfd)
            os.close(done)

    def guard(self, loop: Loop) -> None:
        """Have a spare at all times, as long as the loop runs."""
        pidfd, spare = process.pidfd_open(self._spare), self._spare

        def gone(events: int) -> None:
            loop.forget(pidfd)
            os.close(pidfd)
            try:
                os.waitpid(spare, os.WNOHANG)
            except ChildProcessError:
                pass
            loop.later(0.2, lambda: self._fork_spare(loop))

        loop.watch(pidfd, READ, gone)

    def over(self) -> None:
        """This end is a clean one."""
        os.write(self._finished, b"c")

    def _fork_spare(self, loop: Loop) -> None:
        ours = process.pidfd_open(os.getpid())
        done, fresh = os.pipe2(os.O_CLOEXEC)
        self._spare = os.fork()
        if self._spare:
            os.dup2(fresh, self._finished, inheritable=False)
            for fd in (ours, done, fresh):
                os.close(fd)
            self.guard(loop)
            return
        # Everything of the worker goes but what is to stay: its ports and connections are not the spare's.
        low = 3
        for fd in sorted((*self.keep, ours, done)):
            os.closerange(low, fd)
            low = fd + 1
        os.closerange(low, 1 << 16)
        set_title(self.titles[1].encode())
        code = 0
        try:
            if not _watch(ours, done):
                os.close(ours)
                os.close(done)
                self.live(again=True)
        except OSError as fault:
            print(f"net helper: {fault}", file=sys.stderr)  # noqa: T201 - the faults file
            code = 1
        os._exit(code)


def _watch(pidfd: int, done: int) -> bool:
    """In the spare: wait for the worker's end; whether it was a clean one."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    return os.read(done, 1) == b"c"
