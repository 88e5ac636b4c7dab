"""What a detached container costs in memory beside its own program: the share (PSS) of its monitor.

A page shared by n processes counts 1/n in each, so the figure falls as containers are added: both 1 and many are
shown, and the spawner's own share beside them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.harness import CommandFailed
from bench.peers.atoll import Atoll
from bench.report import Options, Result
from bench.world import BUSYBOX, World
from kit import processes

TITLE = "Memory beside the container (PSS, MiB)"
PEERS = (Atoll,)


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Monitors of 1 and of many idle containers."""
    atoll = world.peer(Atoll)
    names: list[str] = []
    try:
        atoll.worker.time(atoll.command("pull", "-q", world.reference(BUSYBOX)))
        for count in (1, options.memory_containers):
            while len(names) < count:
                names.append(f"bench-memory-{len(names)}")
                words = ("run", "-d", "--name", names[-1], world.reference(BUSYBOX), "sleep", "600")
                atoll.worker.time(atoll.command(*words))
            shares = [processes.pss(p.pid) / 2**20 for p in processes.monitors(atoll.run_root)]
            spawner = [processes.pss(p.pid) / 2**20 for p in processes.spawners(atoll.run_root)]
            values: dict[str, float | str | None] = {
                "a monitor (median)": statistics.median(shares) if shares else None,
                "the spawner": sum(spawner) if spawner else None,
                "all of Atoll, per container": (sum(shares) + sum(spawner)) / count,
                "monitors": str(len(shares)),
            }
            yield Result("memory", f"{count} container{'s' if count > 1 else ''}", values)
    except (OSError, CommandFailed) as error:
        yield f"memory: {error}"
    finally:
        if names:
            atoll.worker.time(atoll.command("rm", "-f", *names), ok=range(256))
