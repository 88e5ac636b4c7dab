"""Logs: how fast a container may write that writes as fast as it can, and how long `logs` takes for 100 MB.

`writing` is output that reached the log, by the times that the engine itself gives for the container's start and end,
in MB/s: `yes` of lines of 80 bytes, k8s-file against podman, json-file against docker, unbounded as they keep theirs;
and alone by default, three files of 10 MiB. That all of it arrived is checked by reading it back. The ratio is
Atoll's time divided by the peer's, pair by pair. The monitor's memory is looked at meanwhile.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator

from bench.harness import Command, CommandFailed, Contender, pairs
from bench.peers.atoll import Atoll
from bench.peers.docker import Docker
from bench.peers.podman import Podman
from bench.report import Options, Result, judged, timing
from bench.world import BUSYBOX, World
from kit import processes

TITLE = "Logs: a container that writes as fast as it can (MB/s), and `logs` of 100 MB"
PEERS = (Atoll, Podman, Docker)
SIZE = 50_000_000
READ = 100_000_000
LINE = "x" * 79
READ_GOAL = 0.5
UNBOUNDED = ("--log-opt", "max-size=-1")
Engine = Atoll | Podman | Docker


class Writer:
    """One way to log, of one engine."""

    def __init__(self, world: World, engine: Engine, words: tuple[str, ...] = (), name: str = "") -> None:
        self.engine, self.words = engine, words
        self.name = name or engine.name
        self.reference = world.reference(BUSYBOX)
        engine.worker.time(engine.command("pull", "-q", *self._insecure(), self.reference))

    def _insecure(self) -> tuple[str, ...]:
        return ("--tls-verify=false",) if isinstance(self.engine, Podman) else ()

    def command(self, *words: str) -> Command:
        """A command of the engine."""
        return self.engine.command(*words)

    def shell(self, script: str, *words: str) -> Command:
        """A shell in which `"$@"` is a command of the engine."""
        inner = self.command(*words)
        return Command(("/bin/sh", "-c", script, "sh", *inner.argv), inner.env, inner.cwd)

    def begin(self, container: str, size: int) -> None:
        """Start a container that writes so much."""
        program = f"yes {LINE} | head -c {size}"
        words = ("run", "-d", "--name", container, "--network", "none", *self.words, self.reference)
        self.engine.worker.time(self.command(*words, "sh", "-c", program))

    def end(self, container: str) -> float:
        """Seconds from its start to its end."""
        self.engine.worker.time(self.command("wait", container))
        path = f"{self.engine.world.folder('logs-row')}/state"
        self.engine.worker.time(self.shell(f'"$@" > {path}', "inspect", "-f", "{{json .State}}", container))
        with open(path) as stream:
            state = json.load(stream)
        return _seconds(state["FinishedAt"]) - _seconds(state["StartedAt"])

    def check(self, container: str, size: int) -> None:
        """All of it is in the log. Raises CommandFailed."""
        test = f'test "$("$@" 2>/dev/null | wc -c)" -ge {size}'
        self.engine.worker.time(self.shell(test, "logs", container))

    def remove(self, container: str) -> None:
        """Remove it, if it is there."""
        self.engine.worker.time(self.command("rm", "-f", container), ok=range(256))

    def reading(self, container: str) -> Contender:
        """`logs` into nowhere."""
        return Contender(
            self.name, self.engine.worker, lambda: self.shell('exec "$@" > /dev/null', "logs", container)
        )


def _seconds(text: str) -> float:
    """A point in time as the engines write it (RFC 3339)."""
    said = subprocess.run(["date", "-d", text, "+%s.%N"], capture_output=True, text=True, check=True).stdout
    return float(said)


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Writing, then reading what was written."""
    bounded = Writer(world, world.peer(Atoll), name="atoll, three files of 10 MiB")
    yield from _alone(bounded)
    for make, words in ((Podman, ("--log-driver", "k8s-file")), (Docker, ("--log-driver", "json-file"))):
        try:
            ours = Writer(world, world.peer(Atoll), (*words, *UNBOUNDED))
            peer = Writer(world, world.peer(make), words)
            yield from _writing(ours, peer, max(3, options.pairs // 5))
            yield _reading(ours, peer, max(2, options.pairs // 5))  # podman takes half a minute
        except (OSError, RuntimeError) as error:
            yield f"logs: {error}"


def _alone(writer: Writer) -> Iterator[Result | str]:
    peak = Peak(writer.engine)
    try:
        taken = _once(writer, check=False)
        yield Result("logs", f"writing: {writer.name}", {"MB/s": SIZE / taken / 1e6, "monitor MiB": peak.stop()})
    except (OSError, CommandFailed) as error:
        yield f"logs: {error}"
    finally:
        peak.stop()


def _once(writer: Writer, *, check: bool = True) -> float:
    try:
        writer.begin("bench-log", SIZE)
        taken = writer.end("bench-log")
        if check:
            writer.check("bench-log", SIZE)
        return taken
    finally:
        writer.remove("bench-log")


def _writing(ours: Writer, peer: Writer, count: int) -> Iterator[Result]:
    mine, theirs = [], []
    peak = Peak(ours.engine)
    try:
        for _ in range(count):
            mine.append(_once(ours))
            theirs.append(_once(peer))
    finally:
        most = peak.stop()
    ratio = statistics.median([one / other for one, other in zip(mine, theirs, strict=True)])
    yield Result(
        "logs",
        f"writing: {peer.name}",
        {
            "MB/s": SIZE / statistics.median(theirs) / 1e6,
            "atoll in the same pairs": SIZE / statistics.median(mine) / 1e6,
            "monitor MiB": most,
            "ratio": ratio,
            "goal": judged(ratio, 1.0),
        },
    )


def _reading(ours: Writer, peer: Writer, count: int) -> Result:
    try:
        for writer in (ours, peer):
            writer.begin("bench-read", READ)
            writer.end("bench-read")
            writer.check("bench-read", READ)
        mine, theirs, ratio = pairs(ours.reading("bench-read"), peer.reading("bench-read"), count, warmup=1)
    finally:
        for writer in (ours, peer):
            writer.remove("bench-read")
    more = {"atoll in the same pairs": mine.median * 1000, "ratio": ratio}
    goal = judged(ratio, READ_GOAL) if isinstance(peer.engine, Podman) else None
    return timing("logs", f"`logs` of 100 MB: {peer.name}", theirs, **more, goal=goal)


class Peak:
    """The most that Atoll's monitors took (PSS, MiB), looked at ten times a second."""

    def __init__(self, engine: Engine) -> None:
        self._most, self._over = 0, threading.Event()
        self._run_root = engine.run_root if isinstance(engine, Atoll) else ""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.1):
            for process in processes.monitors(self._run_root) if self._run_root else []:
                try:
                    self._most = max(self._most, processes.pss(process.pid))
                except OSError:
                    continue
            time.sleep(0)

    def stop(self) -> float:
        """No more looks; MiB."""
        self._over.set()
        self._thread.join()
        return self._most / 2**20
