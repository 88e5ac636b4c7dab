"""A container's standard streams: what it gets, and the monitor's ends of it.

Holds: `Stdio`. Does not hold: moving the bytes (`relay.py`), making the terminal (`runtime`).
Output of a container goes through FIFOs in its run directory that it holds open read-write itself: so they survive
their reader, and a container whose monitor was killed goes on, blocking when 64 KiB wait, instead of dying of
SIGPIPE (pipe(7), fifo(7)). An exec session does with plain pipes: it ends with its monitor.
"""

from __future__ import annotations

import os

from atoll.base.rollback import Rollback

FIFOS = ("stdout.fifo", "stderr.fifo")


class Stdio:
    """`inside` are the container's three descriptors (to be closed once it has them), `stdin` is the writing end or
    -1, `outputs` the reading ends of streams 1 and 2. The monitor's ends are non-blocking, all close-on-exec."""

    __slots__ = ("inside", "outputs", "stdin")

    def __init__(self, inside: tuple[int, int, int], stdin: int, outputs: tuple[int, ...]) -> None:
        self.inside = inside
        self.stdin = stdin
        self.outputs = outputs

    def close_inside(self) -> None:
        """Close the container's ends; closing twice is fine."""
        for fd in self.inside:
            os.close(fd)
        self.inside = ()  # type: ignore[assignment]

    def close(self) -> None:
        """Close every end."""
        self.close_inside()
        for fd in (*self.outputs, *([self.stdin] if self.stdin >= 0 else [])):
            os.close(fd)


def open_stdio(*, stdin: bool, run: str | None, discard: bool = False) -> Stdio:
    """The streams of one process: FIFOs in `run` if given, otherwise pipes; input is empty without `stdin`, output
    goes nowhere with `discard`. Raises OSError and leaves nothing behind."""
    with Rollback() as undo:
        into = -1
        if stdin:
            source, into = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(into, False)
            undo.push(os.close, into)
        else:
            source = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        undo.push(os.close, source)
        inside, outputs = [source], []
        for name in FIFOS:
            if discard:
                sink = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
            else:
                out, sink = os.pipe2(os.O_CLOEXEC) if run is None else _fifo(f"{run}/{name}")
                os.set_blocking(out, False)
                undo.push(os.close, out)
                outputs.append(out)
            undo.push(os.close, sink)
            inside.append(sink)
        undo.release()
    return Stdio((inside[0], inside[1], inside[2]), into, tuple(outputs))


def _fifo(path: str) -> tuple[int, int]:
    os.mkfifo(path, 0o600)
    out = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return out, os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except BaseException:
        os.close(out)
        raise
