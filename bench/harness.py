"""Spawning and timing: a worker process per place (user, cgroup, mounts), pairs, medians.

Holds: `Sample`, `Worker`, `pairs`, `Summary`. Does not hold: which commands are measured.

The worker does posix_spawn(3) and wait4(2) and nothing else between the two clock readings, so that entering a
namespace or giving up root costs the measured command nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

TIMEOUT = 120.0


class CommandFailed(RuntimeError):
    """A measured command ended with another status than 0."""


@dataclass(frozen=True)
class Command:
    """What is measured: argv, the environment as a whole, the working directory; stdin is /dev/null."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = (("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),)
    cwd: str = "/"
    stderr: str = ""  # a file that takes stderr, for marks; otherwise it goes to the worker's log


@dataclass(frozen=True)
class Sample:
    """Seconds: wall clock from spawn to exit, CPU of the foreground process and the children it waited for."""

    wall: float
    cpu: float
    code: int


@dataclass
class Summary:
    """Many samples of one command."""

    samples: list[Sample] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(s.wall for s in self.samples)

    @property
    def minimum(self) -> float:
        """Seconds."""
        return min(s.wall for s in self.samples)

    @property
    def cpu(self) -> float:
        """Median, seconds."""
        return statistics.median(s.cpu for s in self.samples)


class Worker:
    """A forked process that spawns and times commands in one place; `enter` runs in it once, first."""

    def __init__(self, name: str, log: str, enter: Callable[[], None] | None = None) -> None:
        self.name, self.log = name, log
        down_read, down_write = os.pipe()
        up_read, up_write = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(down_write)
            os.close(up_read)
            status = 1
            try:
                _serve(down_read, up_write, log, enter)
                status = 0
            finally:
                os._exit(status)
        os.close(down_read)
        os.close(up_write)
        self._down = os.fdopen(down_write, "w", buffering=1)
        self._up = os.fdopen(up_read)

    def time(self, command: Command, *, ok: Sequence[int] = (0,)) -> Sample:
        """Run it once. Raises CommandFailed, with the end of the log."""
        request = {"argv": command.argv, "env": dict(command.env), "cwd": command.cwd, "stderr": command.stderr}
        self._down.write(json.dumps(request) + "\n")
        line = self._up.readline()
        if not line:
            raise CommandFailed(f"the worker for {self.name} died; see {self.log}")
        sample = Sample(**json.loads(line))
        if sample.code not in ok:
            with open(self.log, errors="replace") as stream:
                lines = [text for text in stream.read().splitlines() if text.strip()]
            tail = lines[-1] if lines else "no word why"
            raise CommandFailed(f"{self.name}: {' '.join(command.argv)} ended with {sample.code}: {tail}")
        return sample

    def close(self) -> None:
        """End the worker."""
        self._down.close()
        self._up.close()
        os.waitpid(self.pid, 0)


def _serve(requests: int, answers: int, log: str, enter: Callable[[], None] | None) -> None:
    if enter is not None:
        enter()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    with os.fdopen(requests) as lines, os.fdopen(answers, "w", buffering=1) as out:
        for line in lines:
            out.write(json.dumps(_once(json.loads(line), null, output)) + "\n")


def _once(request: dict[str, object], null: int, output: int) -> dict[str, float]:
    argv, env, aside = request["argv"], request["env"], str(request["stderr"])
    assert isinstance(argv, list)
    assert isinstance(env, dict)
    os.chdir(str(request["cwd"]))
    errors = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666) if aside else output
    actions = [
        (os.POSIX_SPAWN_DUP2, null, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, errors, 2),
    ]
    if "ATOLL_TIMING" in env:
        env["ATOLL_TIMING_START"] = str(time.monotonic_ns())
    began = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, env, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    if aside:
        os.close(errors)
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "code": os.waitstatus_to_exitcode(status)}


@dataclass
class Contender:
    """One side of a comparison: what to run before (untimed), the timed command, what to run after (untimed)."""

    name: str
    worker: Worker
    command: Callable[[], Command]
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None

    def once(self) -> Sample:
        """Before, timed command, after."""
        self.before()
        try:
            return self.worker.time(self.command())
        finally:
            self.after()


def pairs(one: Contender, other: Contender, count: int, warmup: int = 2) -> tuple[Summary, Summary, float]:
    """A B A B …: both summaries and the median of the ratios one/other taken pair by pair."""
    for _ in range(warmup):
        one.once()
        other.once()
    first, second = Summary(), Summary()
    for _ in range(count):
        first.samples.append(one.once())
        second.samples.append(other.once())
    ratios = [a.wall / b.wall for a, b in zip(first.samples, second.samples, strict=True)]
    return first, second, statistics.median(ratios)


def alone(one: Contender, count: int, warmup: int = 2) -> Summary:
    """A A A …: where there is nothing to compare with."""
    for _ in range(warmup):
        one.once()
    return Summary([one.once() for _ in range(count)])
