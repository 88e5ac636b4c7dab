"""push to an empty registry on the loopback, save into a file, load of that file into an empty store: the Debian
image (one layer) and the one of twelve layers, stores and files on tmpfs.

All load the same archive, the one that podman saves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from bench.harness import Contender
from bench.peers.atoll import Atoll
from bench.peers.docker import Docker
from bench.peers.podman import Podman
from bench.report import Options, Result
from bench.rows.pull import compared
from bench.world import DEBIAN, World

TITLE = "push, save and load"
PEERS = (Atoll, Podman, Docker)
GOAL = 1.0


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Each of the three, for both images, against podman (whose figure is the goal) and docker."""
    for what, reference in (("Debian", world.reference(DEBIAN)), ("12 layers", world.small_files[0])):
        archive = os.path.join(world.folder("archives"), f"{what.replace(' ', '-')}.tar")
        for peer in (Podman, Docker):
            both = (world.peer(Atoll), world.peer(peer))
            try:
                for verb in ("push", "save", "load"):
                    ours, theirs = [_contender(world, one, verb, reference, archive) for one in both]
                    goal = GOAL if peer is Podman else None
                    yield from compared("archives", f"{verb} {what}", ours, theirs, options.pull_pairs, goal, peer)
                    if verb == "save" and peer is Podman:
                        os.rename(f"{archive}-podman", archive)
            except (OSError, RuntimeError) as error:
                yield f"archives: {error}"


def _contender(world: World, peer: Atoll | Podman | Docker, verb: str, reference: str, archive: str) -> Contender:
    if verb == "save":
        return peer.save(reference, f"{archive}-{_word(peer)}")
    if verb == "load":
        return peer.load(reference, archive)
    target = f"{world.target.host}/{_word(peer)}:latest"
    return replace(peer.push(reference, target), before=world.empty_target)


def _word(peer: Atoll | Podman | Docker) -> str:
    return peer.name.split()[0]
