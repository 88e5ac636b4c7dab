"""A container with a kernel of its own: from a template and by a boot, start to exit; ten at once; its memory.

Under software emulation, and by KVM where a guest comes up by it: where none does, its lines say why. Nothing is
compared: no other engine here has the level. The goals are the project's own. Memory is of one alone, and of several
at once: what copies of a template share (the VMM's and the keeper's code) counts once.
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
RESTORED_GOAL, MEMORY_GOAL = 400.0, 100.0
AT_ONCE = CROWD = 10
KVM_COLD_GOAL, KVM_RESTORED_GOAL = 125.0, 30.0


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
        yield _memory(one, reference, 1)
        yield _memory(one, reference, CROWD)
        yield from _by_kvm(world, one, (*words, reference, "true"))
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
        values["goal"] = _judged(median, goal)
    return Result("machines", name, values, [round(one, 1) for one in samples])


def _at_once(one: Atoll, words: tuple[str, ...]) -> None:
    running = [one.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(AT_ONCE)]
    failed = [child.wait(600) for child in running]
    assert not any(failed), failed


def _memory(one: Atoll, reference: str, count: int) -> Result:
    """PSS of the keeper and the VMM, MB as the goal has it, each's share where there are several."""
    names = [f"idle{number}" for number in range(count)]
    total = 0.0
    for name in names:
        one.good("run", "-d", "--name", name, "--isolation", "vm", reference, "sleep", "600", timeout=200)
    for name in names:
        init = int(str(one.state(name)["Pid"]))
        pids = [process.pid for process in processes.everyone() if init in (process.pid, process.parent)]
        total += sum(processes.pss(pid) for pid in pids) / 1e6
    one.good("rm", "-f", *names)
    each = total / count
    what = "memory of an idle one, PSS" if count == 1 else f"memory of each of {count} idle ones, PSS"
    return Result("machines", what, {"MB": each, "goal": _judged(each, MEMORY_GOAL)})


def _by_kvm(world: World, one: Atoll, words: tuple[str, ...]) -> Iterator[Result]:
    """The same by KVM alone, in the same store; a line that says why, where it cannot be."""
    with_kvm = Atoll(f"{world.sandbox.scratch}/machines-kvm", data=one.data)
    with open(with_kvm.config, "w") as stream:
        stream.write('[vm]\naccel = "kvm"\n')
    try:
        first = with_kvm(*words, timeout=200)
        if first.code:
            why = first.err.strip().splitlines()[0] if first.err.strip() else f"exit code {first.code}"
            yield Result("machines", "by KVM", {"runs": 0, "goal": f"not measured: {why}"})
            return
        yield _timed("by KVM, restored", 20, lambda: with_kvm.good(*words), goal=KVM_RESTORED_GOAL)
        volume = (*words[:-2], "-v", "/usr/share/doc:/doc:ro", *words[-2:])
        yield _timed("by KVM, booted", 5, lambda: with_kvm.good(*volume), goal=KVM_COLD_GOAL)
    finally:
        with_kvm.end_spawner()


def _judged(value: float, goal: float) -> str:
    return f"≤ {goal:g}: {'met' if value <= goal else 'MISSED'}"
