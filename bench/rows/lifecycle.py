"""What a day's commands cost one by one: `run -d`, `exec`, `stop`, `rm`, `inspect`, `ps` beside a hundred containers.

Each is paired with the peer's: A B A B. What it needs is made before it and untimed, and so is what removes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from bench.harness import Contender, pairs
from bench.peers.atoll import Atoll
from bench.peers.containerd import Containerd
from bench.peers.docker import Docker
from bench.peers.podman import Podman
from bench.report import Options, Result, judged, timing
from bench.world import BUSYBOX, World

TITLE = "The life of a container, command by command"
PEERS = (Atoll, Podman, Docker, Containerd)
CROWD = 100
"""How many containers there are while they are listed."""

# What is measured: goals beside podman and docker; beside ctr, which keeps no logs and no names, there are none.
GOALS: dict[str, tuple[float | None, float | None]] = {
    "run -d": (0.35, None),
    "exec true": (0.25, 0.5),
    "stop -t 0": (0.25, 0.5),
    "rm": (0.5, None),
    "inspect": (0.5, None),
    f"ps -a, {CROWD} containers": (0.5, None),
}
Engine = Atoll | Podman | Docker | Containerd


class Life:
    """One engine's side: a container that runs all the time, and one a step that comes and goes."""

    def __init__(self, world: World, engine: Engine) -> None:
        self.engine, self.reference = engine, world.reference(BUSYBOX)
        self.command = engine.docker if isinstance(engine, Containerd) else engine.command
        engine.run_true(self.reference).once()  # pulls, too
        self._serial = itertools.count()
        self.name = ""
        self.do(*self._run("-d", "steady", "sleep", "3600"))

    def do(self, *words: str) -> None:
        """A command that is not measured."""
        self.engine.worker.time(self.command(*words))

    def _run(self, how: str, name: str, *program: str) -> tuple[str, ...]:
        return ("run", *((how,) if how else ()), "--name", name, "--network", "none", self.reference, *program)

    def _fresh(self) -> str:
        self.name = f"step-{next(self._serial)}"
        return self.name

    def _gone(self) -> None:
        self.do("rm", "-f", self.name)

    def contender(self, step: str) -> Contender:
        """The step as something to time."""
        of = self.engine
        nothing: Callable[[], None] = lambda: None  # noqa: E731 - two of the steps need no more
        steps: dict[str, tuple[Callable[[], None], Callable[[], tuple[str, ...]], Callable[[], None]]] = {
            "run -d": (nothing, lambda: self._run("-d", self._fresh(), "sleep", "3600"), self._gone),
            "exec true": (nothing, lambda: ("exec", "steady", "true"), nothing),
            "stop -t 0": (
                lambda: self.do(*self._run("-d", self._fresh(), "sleep", "3600")),
                lambda: ("stop", "-t", "0", self.name),
                self._gone,
            ),
            "rm": (lambda: self.do(*self._run("", self._fresh(), "true")), lambda: ("rm", self.name), nothing),
            "inspect": (nothing, lambda: ("inspect", "steady"), nothing),
        }
        before, words, after = steps.get(step) or (nothing, lambda: ("ps", "-a"), nothing)
        return Contender(of.name, of.worker, lambda: self.command(*words()), before=before, after=after)

    def crowd(self) -> None:
        """As many containers as are to be listed; they need not run."""
        for number in range(CROWD - 1):
            self.do("create", "--name", f"crowd-{number}", "--network", "none", self.reference, "true")

    def close(self) -> None:
        """Remove what is steady."""
        names = [f"crowd-{number}" for number in range(CROWD - 1)]
        self.engine.worker.time(self.command("rm", "-f", "steady", *names), ok=range(256))


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Step by step against each peer."""
    lives: list[Life] = []
    try:
        try:
            ours = Life(world, world.peer(Atoll))
        except (OSError, RuntimeError) as error:
            yield f"lifecycle: {error}"
            return
        lives.append(ours)
        for make, which in ((Podman, 0), (Docker, 1), (Containerd, 2)):
            try:
                lives.append(theirs := Life(world, world.peer(make)))
                yield from _beside(ours, theirs, which, options)
            except (OSError, RuntimeError) as error:
                yield f"lifecycle: {make.__name__}: {error}"
    finally:
        for life in lives:
            life.close()


def _beside(ours: Life, theirs: Life, which: int, options: Options) -> Iterator[Result]:
    for step, goals in GOALS.items():
        if step.startswith("ps"):
            if which == 0:
                ours.crowd()
            theirs.crowd()
        mine, other, ratio = pairs(ours.contender(step), theirs.contender(step), options.pairs, warmup=1)
        goal = (*goals, None)[which]
        more = {"atoll in the same pairs": mine.median * 1000, "ratio": ratio, "goal": judged(ratio, goal)}
        yield timing("lifecycle", f"{step}: {theirs.engine.name}", other, **more)
