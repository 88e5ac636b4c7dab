"""Where `atoll run --rm busybox true` spends its time.

With ATOLL_TIMING=1 the command prints `atoll-timing: STEP MILLISECONDS` lines on standard error. The worker tells it
by ATOLL_TIMING_START when it was spawned, so that the first step holds the shell launcher and the interpreter too.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator

from bench.harness import CommandFailed
from bench.peers.atoll import Atoll
from bench.report import Options, Result
from bench.world import BUSYBOX, World

TITLE = "Where `atoll run --rm busybox true` spends its time (warm spawner)"
PEERS = (Atoll,)
INNER = "launch, of which "
"""Before the steps of the monitor's side and of the init, which lie inside the command's step."""


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Medians over the runs of the time spent up to each mark, and what the whole took from outside."""
    marks = os.path.join(world.logs, "marks")
    try:
        contender = world.peer(Atoll).run_true(world.reference(BUSYBOX), marks=marks)
        contender.once()
        runs, walls = [], []
        for _ in range(options.pairs):
            walls.append(contender.once().wall * 1000)
            runs.append(read(marks))
    except (OSError, CommandFailed) as error:
        yield f"breakdown: {error}"
        return
    names = list(runs[0]) if runs else []
    if not names:
        yield "breakdown: the command printed no marks"
        return
    inside = [sum(spent for name, spent in run.items() if not name.startswith(INNER)) for run in runs]
    outside = [wall - total for wall, total in zip(walls, inside, strict=True)]
    for name in names:
        yield _line(name, [run.get(name, 0.0) for run in runs], walls)
    yield _line("exit of the process", outside, walls)
    yield _line("all, from outside", walls, walls)


def read(path: str) -> dict[str, float]:
    """Step → its milliseconds, in the order printed."""
    found: dict[str, float] = {}
    with open(path) as stream:
        for text in stream:
            label, _, rest = text.rstrip("\n").partition(": ")
            name, _, spent = rest.rpartition(" ")
            if label == "atoll-timing" and name and name != "total":
                found[name] = found.get(name, 0.0) + float(spent)
            elif label == "atoll-timing-inside":
                found[INNER + name] = float(spent)
    return found


def _line(name: str, values: list[float], walls: list[float]) -> Result:
    middle = statistics.median(values)
    share = f"{100 * middle / statistics.median(walls):.0f} %"
    return Result("breakdown", name, {"median ms": middle, "share": share}, [round(v, 3) for v in values])
