"""What the program measures itself, inside: system calls, forks, files, the loopback, the processor, memory.

Holds: `measure`, `of_record`. Does not hold: the measures (`../program/timed.py`). Its clock is the one that the rung
gives it; a machine's own clock is compared with ours by the run as a whole.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.compare.program import records, timed
from atoll.compare.values import LESS, MORE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.measures.rounds import Session
    from atoll.compare.program.records import Record
    from atoll.compare.program.timed import Measure
    from atoll.compare.rungs.way import Way
    from atoll.compare.values import Row

SECTION = "working"
_HOW = {
    timed.CALL: "getppid(2), {count} times",
    timed.FORK: "fork, exit and wait, {count} times",
    timed.META: "make, stat, close and remove a file, {count} times",
    timed.WRITE: "16 MiB in pieces of 64 KiB, then fdatasync(2), onto what a container writes to by default",
    timed.READ: "the same file, from the page cache",
    timed.RANDOM: "read and write 4 KiB at scattered places of that file, {count} times; the time of one such pair",
    timed.STREAM: "32 MiB over TCP on the loopback inside, both ends inside",
    timed.ECHO: "one byte there and back over TCP on the loopback inside, {count} times",
    timed.CPU: "a loop of {count} additions that never leaves the processor",
    timed.MEMORY: "16 MiB of new memory, a word of each page written, given back; the time of one page",
}
RATES = (timed.WRITE, timed.READ, timed.STREAM)
_WHOLE = (timed.CPU,)
MASK = sum(1 << one.bit for one in timed.MEASURES)


def measure(session: Session) -> list[Row]:
    """A row a measure."""
    tally = session.rounds("inside", lambda way: run(way, MASK), warm_up=not session.quick)
    return [
        tally.row(
            one.name,
            section=SECTION,
            title=one.name,
            unit="B/s" if one in RATES else "s",
            better=MORE if one in RATES else LESS,
            how=_HOW[one].format(count=one.count),
        )
        for one in timed.MEASURES
    ]


def run(way: Way, mask: int, rounds: int = 1) -> dict[str, float]:
    """One copy that does the measures of the mask: a number a measure, of several rounds the mean. Raises Unavailable
    where one is missing."""
    copy = way.start("t", str(mask), str(rounds))
    try:
        found = copy.all()
    finally:
        way.remove(copy)
    return numbers(found, mask)


def numbers(found: list[Record], mask: int) -> dict[str, float]:
    """The records as numbers in the units of the rows."""
    by_bit: dict[int, list[int]] = {}
    for record in found:
        if record.kind == records.TIMED and record.value > 0:
            by_bit.setdefault(record.number, []).append(record.value)
    wanted = [one for one in timed.MEASURES if mask >> one.bit & 1]
    lacking = [one.name for one in wanted if one.bit not in by_bit]
    if lacking:
        raise errors.Unavailable(f"the program did not come to the end: {', '.join(lacking)} is missing")
    return {one.name: of_record(one, sum(by_bit[one.bit]) / len(by_bit[one.bit])) for one in wanted}


def of_record(one: Measure, nanoseconds: float) -> float:
    """Bytes a second, or seconds each time (of the processor's loop: all of it)."""
    seconds = nanoseconds / 1e9
    if one in RATES:
        return one.size * one.count / seconds
    return seconds if one in _WHOLE else seconds / one.count
