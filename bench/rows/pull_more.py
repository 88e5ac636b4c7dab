"""Pulling what is there in part: an image of twelve layers of which eleven are there, and one that is there whole.

The registry is on the loopback, the stores on tmpfs. Nothing changed is asked twice: with a spawner that waits, as
after any container, and without one.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.peers.atoll import Atoll
from bench.peers.containerd import Containerd
from bench.peers.docker import Docker
from bench.peers.podman import Podman
from bench.report import Options, Result
from bench.rows.pull import compared
from bench.world import BUSYBOX, World

TITLE = "Pull of what is there in part, or whole"
PEERS = (Atoll, Podman, Docker, Containerd)
ONE_OF_TWELVE, NOTHING = 0.5, 0.3


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """One layer of twelve, then none."""
    whole, below = world.small_files
    for peer in PEERS[1:]:
        try:
            ours, theirs = world.peer(Atoll).pull(whole, below), world.peer(peer).pull(whole, below)
            yield from compared("pull_more", "1 of 12", ours, theirs, options.pull_pairs, ONE_OF_TWELVE, peer)
        except (OSError, RuntimeError) as error:
            yield f"pull_more: {error}"
    reference = world.reference(BUSYBOX)
    for warm in (True, False):
        for peer in PEERS[1:] if warm else PEERS[1:2]:
            try:
                ours, theirs = world.peer(Atoll).again(reference, warm=warm), world.peer(peer).again(reference)
                what = f"nothing new, {'warm' if warm else 'cold'}"
                goal = NOTHING if peer is Podman else None
                yield from compared("pull_more", what, ours, theirs, options.pairs, goal, peer)
            except (OSError, RuntimeError) as error:
                yield f"pull_more: {error}"
