"""Memory beside the workload: what a further copy takes of this machine, by proportional set size; how many fit.

Holds: `measure`, `memory_available`. The program itself is a few pages; so what is counted is the rung. Copies are
started in the background one after another, and all stay: the first brings what is shared (a spawner), each further
one the difference.
"""

from __future__ import annotations

import time

from atoll.base import errors
from atoll.compare import processes
from atoll.compare.copies import FAILURES
from atoll.compare.values import LESS, MORE, Cell, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.copies import Copy
    from atoll.compare.measures.rounds import Session
    from atoll.compare.rungs.way import Way

SECTION = "memory"
_SPARE = 0.9
"""The part of the memory now available that copies may take: the rest is the machine's own."""
_PAGE = 4096
_SETTLE_SECONDS = 20.0


def measure(session: Session) -> list[Row]:
    """PSS of the first and of each further copy, processes of each, and how many fit."""
    first: dict[str, Cell] = {}
    each: dict[str, Cell] = {}
    count: dict[str, Cell] = {}
    fit: dict[str, Cell] = {}
    standing = {way.name: _standing(way) for way in session.ways}
    copies = 3 if session.quick else 6
    available = memory_available()
    for way in session.ways:
        session.say(f"memory: {way.name}")
        try:
            one, further, running = _totals(session, way, copies)
        except FAILURES as error:
            reason = Cell(reason=str(error))
            first[way.name] = each[way.name] = count[way.name] = fit[way.name] = reason
            continue
        first[way.name] = Cell(samples=(one,))
        each[way.name] = Cell(samples=further)
        count[way.name] = Cell(samples=(running,))
        fit[way.name] = _fit(each[way.name].median, running, available)
    return [
        _row(
            "memory",
            "memory of a further copy",
            "B",
            LESS,
            each,
            "PSS of all processes that come with it, its share of what all have in common included (a page of it at "
            "least); a machine's memory is counted as far as it was touched",
        ),
        _row(
            "memory first",
            "memory of the first copy",
            "B",
            LESS,
            first,
            "the same with what comes with the first: Atoll's spawner; a daemon that stood before is not counted, "
            "nor what it grows by",
        ),
        _row(
            "memory standing",
            "memory that stands without any",
            "B",
            LESS,
            standing,
            "PSS of what has to run before the first copy: a daemon",
        ),
        _row("processes", "processes a copy", "", LESS, count, "processes of the host's kernel that a copy brings"),
        _row(
            "fit",
            "copies that fit into this machine now",
            "",
            MORE,
            fit,
            f"{_SPARE:.0%} of MemAvailable divided by the memory of a further copy, or the host's limit on "
            "processes; what a workload needs comes on top",
        ),
    ]


def _row(key: str, title: str, unit: str, better: str, cells: dict[str, Cell], how: str) -> Row:
    return Row(key=key, section=SECTION, title=title, unit=unit, better=better, how=how, cells=cells)


def _totals(session: Session, way: Way, copies: int) -> tuple[float, tuple[float, ...], float]:
    """Bytes of the first copy, of each further one (from the first to each count), and processes a copy."""
    _settle(session)
    standing = session.place.descendants()
    standing -= processes.passing(standing)
    # Daemons come and go in memory by themselves: those of other engines are left out, its own is told apart. Atoll's
    # spawner is counted: what its forks share with it is theirs in part.
    own = set() if way.has_daemon else way.standing()
    others = standing - own
    base = _pss(own)
    started: list[Copy] = []
    further: list[float] = []
    first = 0.0
    try:
        for number in range(1, copies + 1):
            started.append(way.start_detached("w"))
            if number in (1, copies):
                _settle(session)
            now = session.place.descendants()
            now -= processes.passing(now)
            total = _pss(now - others) - base
            if number == 1:
                first = total
            else:
                further.append(max(_PAGE, (total - first) / (number - 1)))
        came = now - standing - way.standing()
        return max(_PAGE, first), tuple(further), max(1.0, len(came) / copies)
    finally:
        for copy in started:
            way.remove(copy)


def _standing(way: Way) -> Cell:
    """Of a daemon; Atoll's spawner is no requirement, and counted with the first copy."""
    if not way.has_daemon:
        return Cell(text="nothing")
    return Cell(samples=(_pss(way.standing()),))


def _settle(session: Session) -> None:
    """Wait until what goes by itself has gone; a quick comparison leaves it out instead."""
    deadline = time.monotonic() + (0 if session.quick else _SETTLE_SECONDS)
    while time.monotonic() < deadline and processes.passing(session.place.descendants()):
        time.sleep(0.2)


def _pss(pids: set[int]) -> float:
    """Raises Denied where this user may not read it."""
    total, unread = processes.pss(pids)
    if unread:
        raise errors.Denied(f"the memory of {unread} of its processes may not be read by this user")
    return float(total)


def _fit(each: float, running: float, available: int) -> Cell:
    memory = int(available * _SPARE / each)
    most = int(_processes_left() / running)
    if most < memory:
        return Cell(samples=(float(most),), note="processes are what runs out first")
    return Cell(samples=(float(memory),), note="memory is what runs out first")


def memory_available() -> int:
    """Bytes, as the kernel reckons (proc_meminfo(5), MemAvailable)."""
    with open("/proc/meminfo") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _processes_left() -> int:
    """How many more processes this kernel takes."""
    with open("/proc/sys/kernel/pid_max") as file:
        most = int(file.read())
    with open("/proc/sys/kernel/threads-max") as file:
        most = min(most, int(file.read()))
    with open("/proc/loadavg") as file:
        running = int(file.read().split()[3].split("/")[1])
    return max(0, most - running)
