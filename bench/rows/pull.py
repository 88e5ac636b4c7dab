"""Pulling a Debian image (one layer, about 50 MB of gzip) from a registry on the loopback into an empty store.

On tmpfs the engine is measured; on the disk, the disk too, whose rate falls after a burst: read it as a side note.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import alone, pairs
from bench.peers.atoll import Atoll
from bench.peers.docker import Docker
from bench.peers.podman import Podman
from bench.report import Options, Result, timing
from bench.world import DEBIAN, World

TITLE = "Pull of a Debian image into an empty store"
PEERS = (Atoll, Podman, Docker)


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Stores on tmpfs with the ratio in pairs, then on disk, fewer runs."""
    for disk in (False, True):
        count = 1 if disk else options.pull_pairs
        place = "disk" if disk else "tmpfs"
        for peer in (Podman, Docker):
            try:
                yield from _against(world, peer, disk, place, count)
            except (OSError, RuntimeError) as error:
                yield f"pull: {error}"


def _against(world: World, peer: type, disk: bool, place: str, count: int) -> Iterator[Result | str]:
    reference = world.reference(DEBIAN)
    theirs = world.peer(peer, disk=disk).pull(reference)
    try:
        ours = world.peer(Atoll, disk=disk).pull(reference)
        ours.once()
    except (OSError, RuntimeError) as error:
        yield f"pull: {error}"
        yield timing("pull", f"{theirs.name}, {place}", alone(theirs, count, warmup=0))
        return
    mine, other, ratio = pairs(ours, theirs, count, warmup=0 if disk else 1)
    goal = None if disk else f"≤ 1: {'met' if ratio <= 1 else 'MISSED'}"
    yield timing("pull", f"atoll, {place} (beside {theirs.name})", mine)
    yield timing("pull", f"{theirs.name}, {place}", other, ratio=ratio, goal=goal)
