"""`run --rm` of `true` in busybox without a network: the price of a container, start to exit.

Each peer is paired with Atoll (warm): A B A B, so that both see the same load. `ratio` is Atoll's time divided by
the peer's, the median over the pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.harness import Contender, Summary, alone, pairs
from bench.peers.atoll import Atoll
from bench.peers.containerd import Containerd
from bench.peers.docker import Docker
from bench.peers.podman import Podman
from bench.peers.raw import Raw
from bench.report import Options, Result, timing
from bench.world import BUSYBOX, World

TITLE = "`true` in busybox, no network, start to exit"
PEERS = (Atoll, Podman, Docker, Containerd, Raw)
GOALS = {"podman + crun": 0.25, "docker": 0.20}


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Atoll against each peer, then Atoll's other modes against its warm self."""
    reference = world.reference(BUSYBOX)
    ours: Contender | str = _try(lambda: world.peer(Atoll).run_true(reference))
    if isinstance(ours, str):
        yield ours
    own = Summary()
    lines: list[Result] = []
    for make in (
        lambda: world.peer(Podman).run_true(reference),
        lambda: world.peer(Docker).run_true(reference),
        lambda: world.peer(Containerd).run_true(reference),
        lambda: world.peer(Raw, "runc").run_true(),
        lambda: world.peer(Raw, "crun").run_true(),
    ):
        peer = _try(make)
        if isinstance(peer, str):
            yield peer
            continue
        if isinstance(ours, str):
            lines.append(timing("run_true", peer.name, alone(peer, options.pairs)))
            continue
        mine, theirs, ratio = pairs(ours, peer, options.pairs)
        own.samples += mine.samples
        goal = GOALS.get(peer.name)
        verdict = None if goal is None else f"≤ {goal}: {'met' if ratio <= goal else 'MISSED'}"
        more = {"atoll in the same pairs": mine.median * 1000, "ratio": ratio, "goal": verdict}
        lines.append(timing("run_true", peer.name, theirs, **more))
    if not isinstance(ours, str):
        yield timing("run_true", ours.name, own)
        yield from _other_modes(world, reference, options)
    yield from lines


def _other_modes(world: World, reference: str, options: Options) -> Iterator[Result | str]:
    for make in (
        lambda: world.peer(Atoll).run_true(reference, cold=True),
        lambda: world.peer(Atoll, rootless=True).run_true(reference),
        lambda: world.peer(Atoll, rootless=True).run_true(reference, cold=True),
    ):
        mode = _try(make)
        yield mode if isinstance(mode, str) else timing("run_true", mode.name, alone(mode, options.pairs))


def _try(make: Callable[[], Contender]) -> Contender | str:
    """The contender, or why there is none: one engine that does not run must not cost the other figures."""
    try:
        contender = make()
        contender.once()
        return contender
    except (OSError, RuntimeError) as error:
        return f"run_true: {error}"
