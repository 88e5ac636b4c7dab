"""Where a command's time goes: `ATOLL_TIMING=1` prints a breakdown to standard error at the end.

Holds: `mark` and `report`; `begin`, `take` and `put` for the processes that work for the command, whose steps lie
inside the command's and are printed as `atoll-timing-inside`. Does not hold: statistics (`bench/` collects them).
Without the variable a mark is one comparison.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "ATOLL_TIMING"

_on = bool(os.environ.get(VARIABLE))
_marks: list[tuple[str, int]] = []
_inner: list[tuple[str, float]] = []


def enabled() -> bool:
    """Whether the user asked for the breakdown."""
    return _on


def begin() -> None:
    """Measure from here on, in a process that works for a command that was asked to."""
    global _on
    _on = True
    _inner.clear()
    _marks[:] = [("begin", time.monotonic_ns())]


def mark(name: str) -> None:
    """The step called `name` ends now; it began where the one before it ended."""
    if _on:
        _marks.append((name, time.monotonic_ns()))


def take() -> list[tuple[str, float]] | None:
    """What was measured since `begin`, with what was `put`, for the process that reports; None if nobody asked."""
    return [*steps()[1:], *_inner] if _on else None


def put(inside: str, found: Any) -> None:
    """Another process's steps, that ran inside our step `inside`; whatever is not of `take`'s shape is dropped."""
    for one in found or ():
        if _on and len(one) == 2:
            _inner.append((f"{inside}: {one[0]}", float(one[1])))


def process_start_ns() -> int:
    """When this process was started, on the monotonic clock, in nanoseconds (proc_pid_stat(5), `starttime`).

    The kernel counts it in ticks of 10 ms, so the first line of the breakdown is that coarse.
    """
    with open("/proc/self/stat", "rb") as stat:
        ticks = int(stat.read().rpartition(b")")[2].split()[19])
    since_boot = ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return since_boot - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns())


def steps() -> list[tuple[str, float]]:
    """The marked steps with their milliseconds, in order."""
    out: list[tuple[str, float]] = []
    before = _marks[0][1] if _marks else 0
    for name, at in _marks:
        out.append((name, (at - before) / 1e6))
        before = at
    return out


def report() -> None:
    """Print the breakdown, one `atoll-timing: step milliseconds` a line, if it was asked for."""
    if not _on or not _marks:
        return
    start = int(os.environ.get("ATOLL_TIMING_START") or 0) or process_start_ns()
    _marks.insert(0, ("start", start))
    lines = [f"atoll-timing: {name} {spent:.3f}\n" for name, spent in steps()[1:]]
    lines += [f"atoll-timing-inside: {name} {spent:.3f}\n" for name, spent in _inner]
    lines.append(f"atoll-timing: total {(_marks[-1][1] - start) / 1e6:.3f}\n")
    sys.stderr.write("".join(lines))
