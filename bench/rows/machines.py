"""A container with a kernel of its own: from a template and by a boot, start to exit; ten at once; its memory.

Under software emulation, as this machine's KVM boots no ordinary kernel; where it does, the same row runs by KVM and
says so. Nothing is compared: no other engine here has the level. The goals are the project's own.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator

from bench.report import Options, Result
from bench.world import BUSYBOX, World
from kit import kernels, processes
from kit.command import Atoll

TITLE = "`true` in a virtual machine (--isolation vm), start to exit"
PEERS = ()
RESTORED_GOAL, MEMORY_GOAL, AT_ONCE = 400.0, 100.0, 10


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Restored, booted, at once, and what one takes."""
    reference = world.reference(BUSYBOX)
    one = Atoll(f"{world.sandbox.scratch}/machines")
    kernels.allow(one)
    try:
        one.good("pull", "-q", reference)
        one.good("vm", "kernel", "install", "--from", kernels.wheel(world.sandbox.run_outside))
        words = ("run", "--rm", "--isolation", "vm")

        def run(*more: str) -> None:
            one.good(*words, *more, reference, "true", timeout=200)

        yield _timed("first, its template made", 1, run)
        rounds = max(3, min(options.pairs, 20))
        yield _timed("restored from a template", rounds, run, goal=RESTORED_GOAL)
        yield _timed("booted, with a volume", 3, lambda: run("-v", "/usr/share/doc:/doc:ro"))
        yield _timed(f"{AT_ONCE} at once", 1, lambda: _at_once(one, (*words, reference, "true")))
        yield _memory(one, reference)
    except AssertionError as error:
        yield f"machines: {error}"
    finally:
        one.clear()


def _timed(name: str, count: int, run: Callable[..., object], goal: float | None = None) -> Result:
    samples = []
    for _ in range(count):
        began = time.monotonic()
        run()
        samples.append((time.monotonic() - began) * 1000)
    median = statistics.median(samples)
    values: dict[str, float | str | None] = {"median ms": median, "min ms": min(samples), "runs": count}
    if goal is not None:
        values["goal"] = f"≤ {goal:g}: {'met' if median <= goal else 'MISSED'}"
    return Result("machines", name, values, [round(one, 1) for one in samples])


def _at_once(one: Atoll, words: tuple[str, ...]) -> None:
    running = [one.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(AT_ONCE)]
    failed = [child.wait(600) for child in running]
    assert not any(failed), failed


def _memory(one: Atoll, reference: str) -> Result:
    """PSS of the keeper and the VMM, MiB."""
    one.good("run", "-d", "--name", "idle", "--isolation", "vm", reference, "sleep", "600", timeout=200)
    init = int(str(one.state("idle")["Pid"]))
    pids = [process.pid for process in processes.everyone() if init in (process.pid, process.parent)]
    total = sum(_pss(pid) for pid in pids) / 1024
    one.good("rm", "-f", "idle")
    goal = f"≤ {MEMORY_GOAL:g}: {'met' if total <= MEMORY_GOAL else 'MISSED'}"
    return Result("machines", "memory of an idle one, PSS", {"MiB": total, "goal": goal})


def _pss(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("Pss:"))
