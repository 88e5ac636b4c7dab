"""atoll-runtime beside runc and crun on a raw busybox bundle: one run, one with Docker's seccomp profile (as engines
write it), an exec, many runs, the smallest memory limit; and the modules that a container's init is born with.

`own` is atoll-runtime's time less that of a sealed bare Python in the same pairs: what its own code takes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

from bench.harness import CommandFailed, Contender, pairs
from bench.peers.runtimes import Bare, SealedPython
from bench.report import Options, Result, timing
from bench.world import World

TITLE = "atoll-runtime, runc and crun on a raw bundle"
PEERS = (Bare,)
OURS, PEER_NAMES = "atoll-runtime", ("runc", "crun")
OWN_GOAL_MS = 8.0
MIB = 1 << 20


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Each question in turn."""
    yield from _pairs(world, options.pairs, lambda bare: bare.run_true())
    yield from _pairs(world, options.pairs, lambda bare: bare.run_true(), kind="profile", sealed=False)
    yield from _pairs(world, options.pairs, lambda bare: bare.exec_true(world), kind="exec")
    few = max(1, options.pairs // 5)
    for at_once in (1, 8):
        count = 100 if options.pairs >= 10 else 10
        yield from _pairs(world, few, lambda bare, n=count, p=at_once: bare.many(n, p), sealed=False)
    yield from _memory(world)
    yield _modules(world)


def _pairs(
    world: World, count: int, make: Callable[[Bare], Contender], *, kind: str = "run", sealed: bool = True
) -> Iterator[Result | str]:
    try:
        how: dict[str, bool] = {"profile": True} if kind == "profile" else {}
        ours = make(world.peer(Bare, OURS, kind, **how))
        if sealed:
            mine, bare, _ = pairs(ours, world.peer(SealedPython).once(), count)
            own = (mine.median - bare.median) * 1000
            verdict = f"own ≤ {OWN_GOAL_MS:.0f}: {'met' if own <= OWN_GOAL_MS else 'MISSED'}"
            yield timing("runtime", ours.name, mine, **{"own ms": own, "goal": verdict})
            yield timing("runtime", "a sealed bare Python", bare)
        for name in PEER_NAMES:
            peer = make(world.peer(Bare, name, kind, **how))
            mine, theirs, ratio = pairs(ours, peer, count, warmup=1)
            more = {"atoll in the same pairs": mine.median * 1000, "its CPU ms": mine.cpu * 1000, "ratio": ratio}
            yield timing("runtime", f"{peer.name}{', with a profile' if how else ''}", theirs, **more)
    except (OSError, RuntimeError) as error:
        yield f"runtime: {error}"


def _memory(world: World) -> Iterator[Result | str]:
    """The smallest limit, in steps of a quarter MiB, with which `true` still runs."""
    for name in (OURS, *PEER_NAMES):
        smallest = None
        for quarters in range(32, 0, -1):
            limit = quarters * MIB // 4
            bare = Bare(world, name, "memory", memory=limit)
            try:
                bare.worker.time(bare.run())
            except CommandFailed:
                break
            smallest = quarters / 4
        yield Result("runtime", f"{name}: smallest memory limit", {"MiB": smallest})


def _modules(world: World) -> Result:
    """What is loaded before the fork; after it nothing is (`tests/gates/test_init_imports.py`)."""
    sealed = world.peer(SealedPython)
    code = "import sys; sys.path.append(sys.argv[1]); import atoll.runtime.command.make; print(len(sys.modules))"
    done = subprocess.run(
        [sealed.python, "-SI", "-c", code, sealed.source], capture_output=True, text=True, check=True
    )
    bare = subprocess.run(
        [sealed.python, "-SI", "-c", code.split(";")[0] + "; print(len(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    values: dict[str, float | str | None] = {
        "a bare interpreter": bare.stdout.strip(),
        "the init": done.stdout.strip(),
    }
    return Result("runtime", "modules at the fork", values)
