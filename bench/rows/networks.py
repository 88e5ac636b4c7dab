"""Networks: throughput, connections and names of containers on a bridge, and what a bridge adds to a run.

Each round asks every engine in turn, so that what else the machine does meets all alike; a ratio is Atoll's figure by
the better peer's of the same round. The better one is that with the better median: to take in each round whichever
was luckier would measure against an engine that there is not. The table has the ratios' median, and the interval in
which 95 of 100 such medians lie (of few rounds: from the least to the most). The engines are in namespaces of their
own (`peers/bridged.py`).
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.harness import CommandFailed
from bench.peers.bridged import HERE, PORT, AtollBridged, Bridged, DockerBridged, PodmanBridged
from bench.report import Options, Result
from bench.world import World

TITLE = "Containers on a bridge: throughput, connections, names, and what a bridge adds to `run --rm true`"
PEERS = (AtollBridged, PodmanBridged, DockerBridged)
GOAL_MS = 15.0
LEAST = 0.95
SECONDS = 1.0
MOST_ROUNDS = 9
TROUBLE = (CommandFailed, ValueError, KeyError, IndexError, ZeroDivisionError, subprocess.TimeoutExpired)
OUTER = 15201
SERVER = "import socket\ns = socket.create_server(('0.0.0.0', 5202), backlog=4096)\nwhile True: s.accept()[0].close()"
CLIENT = (
    "import socket, struct, sys, time\n"
    "count, until = 0, time.monotonic() + float(sys.argv[3])\n"
    "while time.monotonic() < until:\n"
    " s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n"
    " s.connect((sys.argv[1], int(sys.argv[2]))); s.close(); count += 1\n"
    "print(count / float(sys.argv[3]))"
)


class Bench:
    """An engine with two containers, the first of which serves and publishes."""

    def __init__(self, engine: Bridged) -> None:
        self.engine = engine
        flags = ("-p", f"{OUTER}:{PORT}", "-p", f"{OUTER + 1}:5202")
        self.server, self.address = engine.container("server", *flags)
        self.client, _ = engine.container("client")
        self.children = [
            self._serve("iperf3", "-s", "-p", str(PORT)),
            self._serve("/usr/bin/python3", "-c", SERVER),
        ]
        time.sleep(0.5)

    def _serve(self, *words: str) -> subprocess.Popen[bytes]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(self.engine.at(self.server, *words), **quiet)  # type: ignore[call-overload,no-any-return]

    def close(self) -> None:
        """End the servers."""
        for one in self.children:
            one.kill()
            one.wait()

    def _say(self, pid: int, *words: str) -> str:
        done = subprocess.run(self.engine.at(pid, *words), capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise CommandFailed(f"{self.engine.name}: {' '.join(words)}: {(done.stderr or done.stdout)[-300:]}")
        return done.stdout

    def _iperf(self, pid: int, address: str, port: int) -> float:
        said = self._say(pid, "iperf3", "-c", address, "-p", str(port), "-t", f"{SECONDS:g}", "-J")
        return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 1e9

    def from_host(self) -> float:
        """Gbit/s from this host to a container."""
        return self._iperf(self.engine.holder.pid, self.address, PORT)

    def between(self) -> float:
        """Gbit/s from a container to another."""
        return self._iperf(self.client, self.address, PORT)

    def published(self) -> float:
        """Gbit/s from another host to a published port."""
        return self._iperf(self.engine.outside.pid, HERE, OUTER)

    def connections(self) -> float:
        """Connections a second from another host through a published port, one after the other."""
        words = ("/usr/bin/python3", "-c", CLIENT, HERE, str(OUTER + 1), f"{SECONDS:g}")
        return float(self._say(self.engine.outside.pid, *words))

    def names(self) -> float:
        """Answers a second to questions after a neighbour's name, asked by a container."""
        at = self.engine.dns if self.engine.dns != "gateway" else self.address.rsplit(".", 1)[0] + ".1"
        path = f"{self.engine.home}/questions"
        with open(path, "w") as stream:
            stream.write("server A\nclient A\n")
        said = self._say(self.client, "dnsperf", "-s", at, "-d", path, "-l", f"{SECONDS:g}", "-c", "4", "-q", "50")
        return float(said.partition("Queries per second:")[2].split()[0])


MEASURES: tuple[tuple[str, Callable[[Bench], float], float, tuple[str, ...]], ...] = (
    ("host to container, Gbit/s", Bench.from_host, LEAST, ("podman", "docker")),
    ("container to container, Gbit/s", Bench.between, LEAST, ("podman", "docker")),
    ("published port, Gbit/s", Bench.published, LEAST, ("podman", "docker")),
    ("connections/s by a published port", Bench.connections, LEAST, ("podman", "docker")),
    ("names/s", Bench.names, 1.0, ("podman",)),
)


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """What a bridge adds first, while nothing else is there; then the rest."""
    engines: list[Bridged] = []
    for kind in PEERS:
        try:
            engines.append(world.peer(kind))
        except (RuntimeError, CommandFailed, OSError, subprocess.SubprocessError) as error:
            yield f"networks: {error}"
    yield from _added(engines, options)
    benches = []
    try:
        for engine in engines:
            try:
                benches.append(Bench(engine))
            except RuntimeError as error:
                yield f"networks: {error}"
        for title, one, goal, against in MEASURES:
            yield from _compared(title, one, goal, against, benches, min(options.pairs, MOST_ROUNDS))
    finally:
        for bench in benches:
            bench.close()


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """Where the median lies with 95 % (ranks of the binomial distribution); of fewer than six samples their ends."""
    ordered, n = sorted(samples), len(samples)
    off = math.floor(n / 2 - 0.98 * math.sqrt(n))
    return ordered[max(off, 0)], ordered[n - 1 - max(off, 0)]


def in_turn(benches: Sequence[Any], one: Callable[[Any], float], rounds: int) -> dict[str, list[float]]:
    """Figures by engine, of each round one; each round begins with another engine. Raises what is in TROUBLE."""
    figures: dict[str, list[float]] = {bench.engine.name: [] for bench in benches}
    for number in range(rounds):
        first = number % len(benches)
        for bench in (*benches[first:], *benches[:first]):
            figures[bench.engine.name].append(one(bench))
    return figures


def compared(own: Sequence[float], peer: Sequence[float], goal: float | None) -> tuple[str, str | None]:
    """The ratios of the same rounds in words, and whether the goal is met (None: there is none)."""
    ratios = [mine / other for mine, other in zip(own, peer, strict=True)]
    low, high = interval(ratios)
    ratio = statistics.median(ratios)
    said = None if goal is None else f"≥ {goal:g}: {'met' if ratio >= goal else 'MISSED'}"
    return f"{ratio:.2f} ({low:.2f} to {high:.2f})", said


def _compared(
    title: str,
    one: Callable[[Bench], float],
    goal: float,
    against: tuple[str, ...],
    benches: list[Bench],
    rounds: int,
) -> Iterator[Result | str]:
    try:
        figures = in_turn(benches, one, rounds)
    except TROUBLE as error:
        yield f"networks: {title}: {error}"
        return
    for name, found in figures.items():
        values: dict[str, float | str | None] = {"median": statistics.median(found), "rounds": str(len(found))}
        peers = [figures[peer] for peer in against if peer in figures]
        if name == "atoll" and peers:
            better = max(peers, key=statistics.median)
            values["ratio to the better peer"], values["goal"] = compared(found, better, goal)
        yield Result("networks", f"{title}: {name}", values, [round(one, 4) for one in found])


def _added(engines: list[Bridged], options: Options) -> Iterator[Result | str]:
    """`added` is the median of the differences within pairs."""
    for engine in engines:
        default = "podman" if engine.name == "podman" else "bridge"
        none, bridge = engine.run_true("none"), engine.run_true(default)
        try:
            for contender in (none, none, bridge, bridge):
                contender.once()
            samples = [(none.once().wall, bridge.once().wall) for _ in range(options.pairs)]
        except CommandFailed as error:
            yield f"networks: {error}"
            continue
        differences = [(b - a) * 1000 for a, b in samples]
        low, high = interval(differences)
        added = statistics.median(differences)
        values: dict[str, float | str | None] = {
            "none ms": statistics.median(a for a, _ in samples) * 1000,
            "bridge ms": statistics.median(b for _, b in samples) * 1000,
            "added ms": f"{added:.1f} ({low:.1f} to {high:.1f})",
            "rounds": str(len(samples)),
            "goal": f"≤ {GOAL_MS:.0f}: {'met' if added <= GOAL_MS else 'MISSED'}" if engine.name == "atoll" else None,
        }
        yield Result("networks", f"a bridge adds: {engine.name}", values, [round(one, 3) for one in differences])
