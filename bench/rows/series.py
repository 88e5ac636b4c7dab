"""Many containers: fifty started one after another, and eight at a time, each `run -d` of an idle program.

The whole series is one measurement, and each engine's is paired with Atoll's. Removing them is not timed.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Command, Contender, pairs
from bench.peers.atoll import Atoll
from bench.peers.docker import Docker
from bench.peers.podman import Podman
from bench.report import Options, Result, judged, timing
from bench.world import BUSYBOX, World

TITLE = "Fifty containers started: one after another, and eight at a time"
PEERS = (Atoll, Podman, Docker)
COUNT, AT_ONCE = 50, 8
GOAL = 0.25
PAIRS = 3
"""A series takes seconds: fewer pairs are enough."""
# `"$@"` is the engine's command with its global options; $1 and $2 are shifted away.
IN_A_ROW = (
    "count=$1 image=$2; shift 2; i=0; while [ $i -lt $count ]; do "
    '"$@" run -d --network none --name s$i $image sleep 3600 || exit 1; i=$((i + 1)); done'
)
AT_A_TIME = (
    "count=$1 image=$2; shift 2; seq 0 $((count - 1)) | "
    f'xargs -P {AT_ONCE} -I N "$@" run -d --network none --name sN $image sleep 3600'
)

Engine = Atoll | Podman | Docker


def series(world: World, engine: Engine, script: str, label: str) -> Contender:
    """One engine's fifty."""
    reference = world.reference(BUSYBOX)
    bare = engine.command()
    names = [f"s{number}" for number in range(COUNT)]

    def command() -> Command:
        return Command(("/bin/sh", "-c", script, "sh", str(COUNT), reference, *bare.argv), bare.env, bare.cwd)

    def remove() -> None:
        engine.worker.time(engine.command("rm", "-f", *names), ok=range(256))

    return Contender(f"{label}: {engine.name}", engine.worker, command, after=remove)


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """In a row, then at a time, against each peer."""
    try:
        ours = world.peer(Atoll)
        ours.run_true(world.reference(BUSYBOX)).once()
    except (OSError, RuntimeError) as error:
        yield f"series: {error}"
        return
    for make in (Podman, Docker):
        for script, label in ((IN_A_ROW, "in a row"), (AT_A_TIME, f"{AT_ONCE} at a time")):
            try:
                theirs = world.peer(make)
                theirs.run_true(world.reference(BUSYBOX)).once()
                one, other = series(world, ours, script, label), series(world, theirs, script, label)
                mine, peer, ratio = pairs(one, other, min(PAIRS, options.pairs), warmup=0)
            except (OSError, RuntimeError) as error:
                yield f"series: {make.__name__}: {error}"
                continue
            goal = judged(ratio, GOAL) if make is Podman else None
            more = {"atoll in the same pairs": mine.median * 1000, "ratio": ratio, "goal": goal}
            yield timing("series", other.name, peer, **more)
