"""compare: what each strength of isolation, and each engine, costs and buys on this host.

Holds: `compare`, `Options`, the order of it all. Does not hold: any measure, any way of showing.
"""

from __future__ import annotations

import os
import time

from atoll.base import clock
from atoll.base.value import Value
from atoll.compare.copies import FAILURES
from atoll.compare.measures import disk, inside, life, memory, noise, survival
from atoll.compare.measures.rounds import Session
from atoll.compare.place import Place
from atoll.compare.rungs.every import RUNGS, find_runtimes, ladder
from atoll.compare.values import Comparison, Rung
from atoll.compare.wall import look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.compare.measures.rounds import Session as _Session
    from atoll.compare.rungs.way import Way
    from atoll.compare.values import Row
    from atoll.engine.engine import Engine

SUBJECTS: dict[str, Callable[[_Session], list[Row]]] = {
    "start": life.measure,
    "inside": inside.measure,
    "memory": memory.measure,
    "disk": disk.measure,
    "noise": noise.measure,
    "wall": look.measure,
    "survival": survival.measure,
}
"""What `--only` chooses from, in the order in which it is done: the killing of daemons comes last."""
_LONG = ("disk", "noise", "survival")
"""What a quick comparison does only when it is asked for by name."""


class Options(Value):
    """What is asked for. `only` names subjects, `rungs` rungs or runtimes (empty: all)."""

    image: str | None = None
    only: tuple[str, ...] = ()
    rungs: tuple[str, ...] = ()
    runtimes: bool = False
    quick: bool = False
    samples: int = 10


def compare(engine: Engine, options: Options, say: Callable[[str], None]) -> Comparison:
    """Compare; progress goes to `say`, a line at a time. Raises NotFound for an image that is not here, Unsupported
    for a machine without our program; a rung that fails is in the result, with the reason."""
    began = time.monotonic()
    with Place(engine, options.image, say) as place:
        ways: list[Way] = []
        rungs: list[Rung] = []
        try:
            for way in _wanted(place, options):
                say(f"trying {way.name}")
                rungs.append(_begun(way, ways, say))
            session = Session(place, ways, samples=options.samples, quick=options.quick, say=say)
            rows = [row for name in _subjects(options) for row in SUBJECTS[name](session)]
        finally:
            for way in reversed(ways):
                _end(way, say)
    return Comparison(
        machine=machine(),
        options=_told(options),
        rungs=tuple(rungs),
        rows=tuple(rows),
        seconds=time.monotonic() - began,
    )


def _subjects(options: Options) -> list[str]:
    chosen = options.only or tuple([name for name in SUBJECTS if not (options.quick and name in _LONG)])
    return [name for name in SUBJECTS if name in chosen]


def _wanted(place: Place, options: Options) -> list[Way]:
    every = ladder(place) + (find_runtimes(place) if options.runtimes or set(options.rungs) - set(RUNGS) else [])
    if options.rungs:
        return [way for way in every if way.name in options.rungs]
    return every


def _begun(way: Way, ways: list[Way], say: Callable[[str], None]) -> Rung:
    """Try it; it joins the others, or says why not."""
    try:
        way.begin()
    except FAILURES as error:
        _end(way, say)
        return way.rung.replace(reason=str(error) or type(error).__name__)
    ways.append(way)
    return way.rung


def _end(way: Way, say: Callable[[str], None]) -> None:
    """What was found is not lost by an engine that cannot be ended: it is below this process, and goes with it."""
    try:
        way.end()
    except FAILURES as error:
        say(f"{way.name} did not end as it should: {error}")


def _told(options: Options) -> dict[str, str]:
    return {
        "image": options.image or "an empty one",
        "samples": str(options.samples),
        "quick": "yes" if options.quick else "no",
        "only": ", ".join(options.only) or "everything",
    }


def machine() -> dict[str, str]:
    """What this was measured on."""
    import atoll

    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) // 1024
    system = "unknown"
    if os.path.exists("/etc/os-release"):
        with open("/etc/os-release") as file:
            fields = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
        system = fields.get("PRETTY_NAME", system).strip('"')
    here = os.uname()
    return {
        "Atoll": atoll.__version__,
        "when": clock.rfc3339(time.time_ns())[:19] + "Z",
        "system": system,
        "kernel": f"{here.release} {here.machine}",
        "processors": f"{os.cpu_count()} × {models[0] if models else 'unknown'}",
        "memory": f"{total} MiB",
        "memory available": f"{memory.memory_available() >> 20} MiB",
        "load": " ".join(f"{one:.2f}" for one in os.getloadavg()),
        "user": "root" if os.geteuid() == 0 else f"uid {os.geteuid()}",
    }
