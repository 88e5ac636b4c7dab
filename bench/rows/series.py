"""Many containers: fifty started one after another, and eight at a time, each `run -d` of an idle program.

The whole series is one measurement, and each engine's is paired with Atoll's. Removing them is not timed.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Command, Contender, pairs
from bench.peers.atoll import Atoll
from bench.peers.containerd import Containerd
from bench.peers.docker import Docker
from bench.peers.podman import Podman
from bench.report import Options, Result, judged, timing
from bench.world import BUSYBOX, World

TITLE = "Fifty containers started: one after another, and eight at a time"
PEERS = (Atoll, Podman, Docker, Containerd)
COUNT, AT_ONCE = 50, 8
GOAL = 0.25
PAIRS = 3
"""A series takes seconds: fewer pairs are enough."""
# `"$@"` is the engine's command with its global options; $1 and $2 are shifted away. A name is `s` and a number.
START = "run -d --network none --name s{} $image sleep 3600"
CTR_START = "run -d $image s{} sleep 3600"
IN_A_ROW = (
    'count=$1 image=$2; shift 2; i=0; while [ $i -lt $count ]; do "$@" {} || exit 1; i=$((i + 1)); done',
    "$i",
)
AT_A_TIME = (
    f'count=$1 image=$2; shift 2; seq 0 $((count - 1)) | xargs -P {AT_ONCE} -I N "$@" {{}}',
    "N",
)

Engine = Atoll | Podman | Docker | Containerd


def series(world: World, engine: Engine, how: tuple[str, str], label: str) -> Contender:
    """One engine's fifty."""
    loop, number = how
    script = loop.format((CTR_START if isinstance(engine, Containerd) else START).format(number))
    reference = world.reference(BUSYBOX)
    bare = engine.command()
    names = [f"s{number}" for number in range(COUNT)]

    def command() -> Command:
        return Command(("/bin/sh", "-c", script, "sh", str(COUNT), reference, *bare.argv), bare.env, bare.cwd)

    def remove() -> None:
        remover = engine.docker if isinstance(engine, Containerd) else engine.command
        at_once = ("-t", "0") if isinstance(engine, Podman) else ()  # its -f waits ten seconds for each `sleep`
        engine.worker.time(remover("rm", "-f", *at_once, *names), ok=range(256))

    return Contender(f"{label}: {engine.name}", engine.worker, command, after=remove)


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """In a row, then at a time, against each peer."""
    try:
        ours = world.peer(Atoll)
        ours.run_true(world.reference(BUSYBOX)).once()
    except (OSError, RuntimeError) as error:
        yield f"series: {error}"
        return
    for make in (Podman, Docker, Containerd):
        for how, label in ((IN_A_ROW, "in a row"), (AT_A_TIME, f"{AT_ONCE} at a time")):
            try:
                theirs = world.peer(make)
                theirs.run_true(world.reference(BUSYBOX)).once()
                one, other = series(world, ours, how, label), series(world, theirs, how, label)
                mine, peer, ratio = pairs(one, other, min(PAIRS, options.pairs), warmup=0)
            except (OSError, RuntimeError) as error:
                yield f"series: {make.__name__}: {error}"
                continue
            goal = judged(ratio, GOAL) if make is Podman else None
            more = {"atoll in the same pairs": mine.median * 1000, "ratio": ratio, "goal": goal}
            yield timing("series", other.name, peer, **more)
