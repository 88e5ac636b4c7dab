"""Pulling into an empty store from a registry on the loopback: a Debian image (one layer, about 50 MB of gzip), and
one of twelve layers with 18,000 small files.

On tmpfs the engine is measured; on the disk, the disk too, whose rate falls after a burst: read it as a side note.
The goal is met when it is against each peer. `syncs` is what a peer flushes before it says that it is done, by
strace(1) of fsync, fdatasync and syncfs: all of them their records of layers and images, containerd also the blobs
that it keeps (podman and docker keep none), none of them an unpacked file. Atoll flushes blobs, records and, once,
all files of its layers. On tmpfs that costs nothing, on a disk much.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Contender, alone, pairs
from bench.peers.atoll import Atoll
from bench.peers.containerd import Containerd
from bench.peers.docker import Docker
from bench.peers.podman import Podman
from bench.report import Options, Result, judged, timing
from bench.world import DEBIAN, World

TITLE = "Pull into an empty store"
PEERS = (Atoll, Podman, Docker, Containerd)
GOAL = 0.8


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Stores on tmpfs with the ratio in pairs, then on disk, fewer runs."""
    for what, reference in (("Debian", world.reference(DEBIAN)), ("12 layers", world.small_files[0])):
        for disk in (False, True):
            for peer in PEERS[1:]:
                try:
                    yield from _against(world, peer, what, reference, disk, options.pull_pairs)
                except (OSError, RuntimeError) as error:
                    yield f"pull: {error}"


def _against(world: World, peer: type, what: str, reference: str, disk: bool, count: int) -> Iterator[Result | str]:
    theirs = world.peer(peer, disk=disk).pull(reference)
    ours = world.peer(Atoll, disk=disk).pull(reference)
    goal = None if disk else GOAL
    place = "disk" if disk else "tmpfs"
    yield from compared("pull", f"{what}, {place}", ours, theirs, 1 if disk else count, goal, peer)


def compared(
    row: str, what: str, ours: Contender, theirs: Contender, count: int, goal: float | None, peer: type
) -> Iterator[Result | str]:
    """One line: the peer's time with Atoll's in the same pairs. Ours may fail: the peer's figure is kept."""
    try:
        ours.once()
    except (OSError, RuntimeError) as error:
        yield f"{row}: {error}"
        yield timing(row, f"{what}: {theirs.name}", alone(theirs, count, warmup=0))
        return
    mine, other, ratio = pairs(ours, theirs, count, warmup=1 if goal else 0)
    more = {"atoll in the same pairs": mine.median * 1000, "ratio": ratio, "goal": judged(ratio, goal)}
    yield timing(row, f"{what}: {theirs.name}", other, **more, syncs=getattr(peer, "syncs", None))
