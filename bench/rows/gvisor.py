"""`true` behind gVisor: what Atoll adds to runsc itself, on the same platform, in pairs.

Beside it raw `runsc run` of the same image as a bundle. What is added is the median of the differences pair by pair:
the wall time is mostly the sentry's own start, and that is on both sides.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
from collections.abc import Iterator

from bench.harness import Command, Contender, pairs
from bench.peers.atoll import Atoll
from bench.peers.runtimes import Bare
from bench.report import Options, Result, timing
from bench.world import BUSYBOX, World

TITLE = "`true` at the level gvisor, start to exit"
PEERS = (Atoll, Bare)
GOAL_MS = 20.0


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Atoll and runsc in turn."""
    try:
        atoll, reference = world.peer(Atoll), world.reference(BUSYBOX)
        atoll.have(reference)
        words = ("run", "--rm", "--network", "none", "--isolation", "gvisor", reference, "true")
        ours = Contender("atoll", atoll.worker, lambda: atoll.command(*words))
        ours.once()  # finds the platform
        platform, tried = _platform(os.path.join(atoll.home, "data"))
        mine, theirs, ratio = pairs(ours, _raw(world, platform), options.pairs)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        yield f"gvisor: {error}"
        return
    both = zip(mine.samples, theirs.samples, strict=True)
    added = statistics.median([1000 * (one.wall - other.wall) for one, other in both])
    verdict = f"≤ {GOAL_MS:g}: {'met' if added <= GOAL_MS else 'MISSED'}"
    yield timing("gvisor", f"raw runsc run, {platform}", theirs)
    yield timing("gvisor", "atoll", mine, **{"ratio": ratio, "added ms": added, "goal": verdict})
    for name, cost in tried.items():
        value = float(cost) if isinstance(cost, int) else None
        why = None if isinstance(cost, int) else str(cost).splitlines()[-1]
        yield Result("gvisor", f"a system call by {name}", {"ns": value, "why not": why})


def _platform(data: str) -> tuple[str, dict[str, int | str]]:
    """What Atoll found (`isolation/gvisor.py`)."""
    with open(os.path.join(data, "gvisor.json")) as stream:
        known = json.load(stream)
    return str(known["platform"]), dict(known["tried"])


def _raw(world: World, platform: str) -> Contender:
    bare = world.peer(Bare, "runsc", "gvisor")
    serial = itertools.count()
    flags = ("--platform", platform, "--network", "none", "--ignore-cgroups=false")

    def command() -> Command:
        words = ("--root", bare.state, *flags, "run", "--bundle", bare.bundle, f"g{next(serial)}")
        return Command((bare.runtime, *words))

    return Contender("raw runsc run", bare.worker, command)
