"""A neighbour that makes noise: how much longer the same work takes beside it.

Holds: `measure`. A neighbour is a second copy at the same rung, whose workers (two for each processor) do one thing
over and over: add, touch memory, write files, fork, or move bytes over the loopback. It is bounded by what it is made
of: a fixed number of processes with 16 MiB each, which look at the clock themselves and end after a few seconds;
where the rung has control groups it is in one of its own. Alone and beside it are measured in turn.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.compare.measures import inside
from atoll.compare.measures.memory import memory_available
from atoll.compare.program import timed
from atoll.compare.values import LESS, Cell, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.measures.rounds import Session
    from atoll.compare.program.timed import Measure
    from atoll.compare.rungs.way import Way

SECTION = "beside a noisy neighbour"
KINDS: tuple[tuple[str, Measure, Measure], ...] = (
    ("processor", timed.CPU, timed.CPU),
    ("memory", timed.MEMORY, timed.MEMORY),
    ("disk", timed.WRITE, timed.WRITE),
    ("forks", timed.FORK, timed.FORK),
    ("network", timed.STREAM, timed.STREAM),
)
"""What the neighbour does, and what is measured beside it."""
_SECONDS = 12
_ROUNDS = 6
_LEAST_MEMORY = 1 << 30


def measure(session: Session) -> list[Row]:
    """A row a kind: times as long as alone."""
    rows = []
    samples = max(2, session.samples // 3)
    for name, noise, work in KINDS:
        if memory_available() < _LEAST_MEMORY:
            cells = {way.name: Cell(reason="less than 1 GiB of memory is free") for way in session.ways}
            rows.append(_row(name, work, cells))
            continue

        def once(way: Way, noise: Measure = noise, work: Measure = work) -> dict[str, float]:
            return {"slowed": _slowed(way, noise, work)}

        tally = session.rounds(f"noise, {name}", once, samples=samples)
        rows.append(_row(name, work, tally.cells("slowed")))
    return rows


def _row(name: str, work: Measure, cells: dict[str, Cell]) -> Row:
    workers = workers_of()
    return Row(
        key=f"noise {name}",
        section=SECTION,
        title=f"{name}: times as long",
        unit="x",
        better=LESS,
        how=f"'{work.name}' as above, beside a copy with {workers} workers that do the same without an end, divided "
        "by the same alone, in turn",
        cells=cells,
    )


def workers_of() -> int:
    """Two for each processor, eight at most."""
    return min(8, 2 * (os.cpu_count() or 1))


def _slowed(way: Way, noise: Measure, work: Measure) -> float:
    """How much longer beside it than alone."""
    alone = _time(way, work)
    neighbour = way.start("n", str(1 << noise.bit), str(workers_of()), str(_SECONDS * 10**9))
    try:
        neighbour.first()
        beside = _time(way, work)
        if neighbour.process.poll() is not None:
            raise errors.Unavailable("the neighbour ended before the work beside it did")
    finally:
        way.remove(neighbour)
    return beside / alone


def _time(way: Way, work: Measure) -> float:
    """Seconds, or for what is a rate seconds a byte."""
    found = inside.run(way, 1 << work.bit, _ROUNDS)[work.name]
    return found if work not in inside.RATES else 1 / found
