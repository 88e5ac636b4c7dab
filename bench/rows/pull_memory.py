"""What a pull takes in memory at its peak, by the size of the layer: the shares (PSS) of all its processes, summed,
many times a second. Stores on tmpfs, whose pages are files and not counted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from bench.harness import CommandFailed, Contender
from bench.peers.atoll import Atoll
from bench.peers.podman import Podman
from bench.report import Options, Result
from bench.world import BUSYBOX, DEBIAN, World
from kit import images, processes

TITLE = "Memory of a pull at its peak (PSS, MiB)"
PEERS = (Atoll, Podman)
GOAL = 100.0
LARGE = 600 << 20


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Small, middling, large; podman beside it."""

    def large() -> images.Image:
        return images.assemble([images.large(os.path.join(world.folder("large"), "layer"), LARGE)], {})

    sizes = (
        ("busybox", world.reference(BUSYBOX)),
        ("Debian, 121 MB of tar", world.reference(DEBIAN)),
        ("12 layers of small files", world.small_files[0]),
        ("one file of 600 MiB", world.image("large", large)),
    )
    for what, reference in sizes:
        for peer in PEERS:
            try:
                one = world.peer(peer)
                peak = _peak(one.pull(reference))
                verdict = f"≤ {GOAL:.0f}: {'met' if peak <= GOAL else 'MISSED'}" if peer is Atoll else None
                yield Result("pull_memory", f"{what}: {one.name}", {"peak MiB": peak, "goal": verdict})
            except (OSError, CommandFailed) as error:
                yield f"pull_memory: {error}"


def _peak(contender: Contender) -> float:
    """MiB, over one run."""
    contender.before()
    ended = threading.Event()
    seen = [0.0]

    def watch() -> None:
        while not ended.wait(0.005):
            try:
                shares = [processes.pss(one.pid) for one in processes.descendants(contender.worker.pid)]
            except OSError:  # one ended while we looked
                continue
            seen[0] = max(seen[0], sum(shares) / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        contender.worker.time(contender.command())
    finally:
        ended.set()
        watcher.join()
    return seen[0]
