"""Many containers, one after the other, and many machines: the last take as long as the first, and nothing grows.

Each is `run --rm … true`. Times are of the first and of the last hundred (of machines: ten). What may grow is
counted once the first lot has gone, and at the end: files of both roots, bytes of the database, processes, mounts,
cgroups, and the spawner's descriptors and memory. `$ATOLL_BENCH_GROWTH`: how many of either, `10000,200` unless it is
said.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence

from bench.report import Options, Result, judged
from bench.world import BUSYBOX, World
from kit import kernels, leaks, processes
from kit.command import Atoll

TITLE = "Created and destroyed, one after the other"
PEERS = ()
VARIABLE = "ATOLL_BENCH_GROWTH"
CONTAINERS, MACHINES, QUICK = 10_000, 200, (200, 6)
SLOWER, GROWTH_MIB = 1.2, 1.0
"""The goal: as long as at first, a busy machine's noise aside; no more of anything, but that a heap may breathe."""
_SETTLE_SECONDS = 60.0


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Containers, then machines."""
    given = [int(word) for word in os.environ.get(VARIABLE, "").split(",") if word]
    containers, machines = given if len(given) == 2 else (CONTAINERS, MACHINES) if options.pairs >= 10 else QUICK
    reference = world.reference(BUSYBOX)
    one = Atoll(f"{world.sandbox.scratch}/growth")
    one.env["ATOLL_SPAWNER_IDLE"] = "20"  # spares are kept for half of it
    kernels.allow(one)
    try:
        one.good("pull", "-q", reference)
        words = ("run", "--rm", "--network", "none")
        yield _many(world, one, f"{containers} containers", (*words, reference, "true"), containers, 100)
        one.good("vm", "kernel", "install", "--from", kernels.wheel(world.sandbox.run_outside))
        words = (*words, "--isolation", "vm")
        one.good(*words, reference, "true", timeout=200)  # makes the template
        yield _many(world, one, f"{machines} machines", (*words, reference, "true"), machines, 10)
    except AssertionError as error:
        yield f"growth: {error}"
    finally:
        one.clear()


def _many(world: World, one: Atoll, name: str, words: Sequence[str], count: int, lot: int) -> Result:
    lot = max(1, min(lot, count // 2))
    samples: list[float] = []
    before: dict[str, float] = {}
    for number in range(count):
        began = time.monotonic()
        one.good(*words, timeout=200)
        samples.append((time.monotonic() - began) * 1000)
        if number + 1 == lot:
            before = _look(world, one)
    after = _look(world, one)
    first, last = statistics.median(samples[:lot]), statistics.median(samples[-lot:])
    grown = [
        f"{what} {before[what]:g} → {after[what]:g}"
        for what in before
        if after[what] > before[what] + (GROWTH_MIB if what.endswith("MiB") else 0)
    ]
    values: dict[str, float | str | None] = {
        "first lot, median ms": first,
        "last lot, median ms": last,
        "ratio": last / first,
        "goal": judged(last / first, SLOWER),
        "grew": ", ".join(grown) or "nothing",
        **{f"{what}, at the end": after[what] for what in after},
    }
    return Result("growth", name, values, [round(sample, 1) for sample in samples])


def _look(world: World, one: Atoll) -> dict[str, float]:
    """Everything that must not grow, when the spawner has nothing to do any more."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    (spawner,) = processes.spawners(one.run_root)
    while any(p.parent == spawner.pid for p in processes.everyone()) and time.monotonic() < deadline:
        time.sleep(0.2)
    found = leaks.Count.now(world.sandbox.scratch)
    return {
        "files": float(_files(one.data) + _files(one.run_root)),
        "database MiB": sum(os.path.getsize(f"{one.data}/{n}") for n in os.listdir(one.data) if "atoll.db" in n)
        / 2**20,
        "processes": float(len(found.processes)),
        "mounts": float(len(found.mounts) + len(found.outer_mounts)),
        "cgroups": float(len(found.cgroups)),
        "spawner's descriptors": float(len(os.listdir(f"/proc/{spawner.pid}/fd"))),
        "spawner MiB": processes.anonymous(spawner.pid) / 2**20,
    }


def _files(root: str) -> int:
    return sum(len(folders) + len(names) for _, folders, names in os.walk(root))
