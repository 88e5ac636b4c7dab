"""Networks of an ordinary user: throughput outwards and through a published port, by each way out.

As `networks.py`: each round asks every engine in turn, a ratio is within a round. Podman 4.3 has slirp4netns alone;
the figure of Atoll with slirp4netns is the comparison, pasta's stands beside it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator

from bench.harness import CommandFailed
from bench.peers.bridged import HERE, PORT, THERE
from bench.peers.ordinary import KINDS, Ordinary
from bench.report import Options, Result
from bench.rows.networks import MOST_ROUNDS, OUTER, SECONDS, TROUBLE, compared, in_turn
from bench.world import World

TITLE = "Networks of an ordinary user: throughput by each way out"
PEERS = KINDS
PEER = "podman-slirp4netns"


class Bench:
    """An engine with a container that serves, and a server outside."""

    def __init__(self, engine: Ordinary) -> None:
        self.engine = engine
        self.container, _ = engine.container("server", "-p", f"{OUTER}:{PORT}")
        self.children = [self._serve(self.container), self._serve(engine.outside.pid)]
        time.sleep(0.5)

    def _serve(self, pid: int) -> subprocess.Popen[bytes]:
        words = self.engine.at(pid, "iperf3", "-s", "-p", str(PORT))
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def close(self) -> None:
        """End the servers."""
        for one in self.children:
            one.kill()
            one.wait()

    def _iperf(self, pid: int, address: str, port: int, *flags: str) -> float:
        words = self.engine.at(pid, "iperf3", "-c", address, "-p", str(port), "-t", f"{SECONDS:g}", "-J", *flags)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise CommandFailed(f"{self.engine.name}: iperf3: {(done.stderr or done.stdout)[-300:]}")
        return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / 1e9

    def outwards(self) -> float:
        """Gbit/s from the container to another host."""
        return self._iperf(self.container, THERE, PORT)

    def inwards(self) -> float:
        """Gbit/s from another host to the container, which asked for it."""
        return self._iperf(self.container, THERE, PORT, "-R")

    def published(self) -> float:
        """Gbit/s from another host to a published port."""
        return self._iperf(self.engine.outside.pid, HERE, OUTER)


MEASURES: tuple[tuple[str, Callable[[Bench], float]], ...] = (
    ("outwards, Gbit/s", Bench.outwards),
    ("inwards, Gbit/s", Bench.inwards),
    ("published port, Gbit/s", Bench.published),
)


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """One engine after the other makes its container; then rounds."""
    benches = []
    try:
        for kind in PEERS:
            try:
                benches.append(Bench(world.peer(kind)))
            except (RuntimeError, CommandFailed, OSError, subprocess.SubprocessError) as error:
                yield f"networks_rootless: {error}"
        for title, one in MEASURES:
            yield from _compared(title, one, benches, min(options.pairs, MOST_ROUNDS))
    finally:
        for bench in benches:
            bench.close()


def _compared(title: str, one: Callable[[Bench], float], benches: list[Bench], rounds: int) -> Iterator[Result | str]:
    try:
        figures = in_turn(benches, one, rounds)
    except TROUBLE as error:
        yield f"networks_rootless: {title}: {error}"
        return
    for name, found in figures.items():
        values: dict[str, float | str | None] = {"median": statistics.median(found), "rounds": str(len(found))}
        if name != PEER and PEER in figures:
            goal = 1.0 if "slirp4netns" in name or "pasta" in name else None
            values["ratio to podman"], said = compared(found, figures[PEER], goal)
            if said is not None:
                values["goal"] = said
        yield Result("networks_rootless", f"{title}: {name}", values, [round(one, 4) for one in found])
