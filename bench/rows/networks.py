"""What a bridge network adds to `run --rm` of `true` in busybox: with one and without in turns, peer by peer.

`added` is the median of the differences within the pairs. Podman's network is its own default one (netavark, or CNI
where that is what Debian's configuration chooses), in the same network namespace of the corner.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.harness import CommandFailed, Contender
from bench.peers.atoll import Atoll
from bench.peers.podman import Podman
from bench.report import Options, Result
from bench.world import BUSYBOX, World

TITLE = "What a bridge network adds to `run --rm busybox true`"
PEERS = (Atoll, Podman)
GOAL_MS = 15.0


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """Atoll, then its peers."""
    reference = world.reference(BUSYBOX)
    for peer in (world.peer(Atoll), world.peer(Podman)):
        plain = peer.run_true(reference)

        def command(network: str, peer: Atoll | Podman = peer) -> Contender:
            words = ("run", "--rm", "--network", network, "--pull", "never", reference, "true")
            return Contender(peer.name, peer.worker, lambda: peer.command(*words))

        none, bridge = command("none"), command("bridge")
        try:
            for contender in (plain, none, bridge, bridge):
                contender.once()
        except CommandFailed as error:
            yield f"networks: {error}"
            continue
        samples = [(none.once().wall, bridge.once().wall) for _ in range(options.pairs)]
        added = statistics.median(b - a for a, b in samples) * 1000
        values: dict[str, float | str | None] = {
            "none ms": statistics.median(a for a, _ in samples) * 1000,
            "bridge ms": statistics.median(b for _, b in samples) * 1000,
            "added ms": added,
            "runs": len(samples),
            "goal": f"≤ {GOAL_MS:.0f}: {'met' if added <= GOAL_MS else 'MISSED'}" if peer.name == "atoll" else None,
        }
        yield Result("networks", peer.name, values, [round((b - a) * 1000, 3) for a, b in samples])
