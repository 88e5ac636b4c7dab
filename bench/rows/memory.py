"""What the company of idle containers weighs: N containers of busybox sleeping, `--network none`.

PSS, so that shared pages count once: of all of Atoll's processes (the spawner and its descendants: monitors, spares,
helpers), divided by N, once nobody has asked for anything for a minute. The containers' own program is not in it.
Beside it: how long it takes to list them, and to stop them all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from bench.harness import Command, CommandFailed
from bench.peers.atoll import Atoll
from bench.report import Options, Result
from bench.world import BUSYBOX, World
from kit import processes

TITLE = "Memory beside the container (PSS, MiB), and a crowd's list and end"
PEERS = (Atoll,)
IDLE_SECONDS, QUICK_IDLE_SECONDS = 60.0, 12.0
"""The second is enough for the spares to be gone."""
GOAL, AIM = 1.0, 0.4
LIST_GOAL_SECONDS = 1.0
# `"$@"` is the engine's command; containers from $1 to $2 of image $3, four at a time.
START = (
    'first=$1 last=$2 image=$3; shift 3; seq $first $last | xargs -P 4 -I N "$@" run -d --network none --name mN '
    "$image sleep 36000 > /dev/null"
)


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """For one, fifty and a thousand."""
    atoll = world.peer(Atoll)
    reference, most = world.reference(BUSYBOX), options.memory_containers
    idle = IDLE_SECONDS if most >= 50 else QUICK_IDLE_SECONDS
    there = 0
    try:
        atoll.run_true(reference)  # pulls
        for count in sorted({1, min(50, most), most}):
            _start(atoll, reference, there + 1, count)
            there = count
            time.sleep(idle)
            values = weigh(atoll, count)
            if count == most:
                listed = atoll.worker.time(atoll.command("ps", "-q")).wall
                values["listed, ms"] = 1000 * listed
                names = [f"m{number}" for number in range(1, count + 1)]
                values["stopped, s"] = atoll.worker.time(atoll.command("stop", "-t", "0", *names)).wall
                verdict = "met" if listed < LIST_GOAL_SECONDS else "MISSED"
                values["goal"] = f"{values['goal']}; listed in < {LIST_GOAL_SECONDS:g} s: {verdict}"
            yield Result("memory", f"{count} container{'s' if count > 1 else ''}", values)
    except (OSError, CommandFailed) as error:
        yield f"memory: {error}"
    finally:
        names = [f"m{number}" for number in range(1, there + 1)]
        atoll.worker.time(atoll.command("rm", "-f", *names), ok=range(256))


def _start(atoll: Atoll, reference: str, first: int, last: int) -> None:
    bare = atoll.command()
    words = ("/bin/sh", "-c", START, "sh", str(first), str(last), reference, *bare.argv)
    atoll.worker.time(Command(words, bare.env, bare.cwd))


def weigh(atoll: Atoll, count: int) -> dict[str, float | str | None]:
    """What there is now, and each container's share of it."""
    spawners = processes.spawners(atoll.run_root)
    below = [p for one in spawners for p in processes.descendants(one.pid) if p.title.startswith("atoll:[")]
    monitors = [processes.pss(p.pid) / 2**20 for p in below if p.title.startswith("atoll:[monitor")]
    all_of_it = sum(processes.pss(p.pid) for p in (*spawners, *below)) / 2**20
    each = all_of_it / count
    verdict = f"≤ {GOAL:g}: {'met' if each <= GOAL else 'MISSED'}; aim {AIM:g}: {'met' if each <= AIM else 'MISSED'}"
    return {
        "a monitor (median)": statistics.median(monitors) if monitors else None,
        "the spawner": sum(processes.pss(p.pid) for p in spawners) / 2**20,
        "all of Atoll, per container": each,
        "processes": str(len(spawners) + len(below)),
        "goal": verdict,
    }
