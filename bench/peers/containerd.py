"""`ctr` against a containerd of our own (`tests/kit/foreign.py`): own root, state and socket; CRI off."""

from __future__ import annotations

import itertools
import os
import subprocess

from bench.harness import Command, Contender
from bench.world import World
from kit import foreign


class Containerd:
    """ctr + runc; `disk` puts the store on the machine's disk."""

    packages = ("containerd", "runc")
    syncs = "blobs, records"

    def __init__(self, world: World, *, disk: bool = False) -> None:
        self.world = world
        self.name = "ctr + runc"
        suffix = "-disk" if disk else ""
        self.state = world.folder(f"containerd-state{suffix}")
        argv = foreign.containerd(world.folder("containerd-root", disk=disk), self.state)
        path = os.path.join(world.logs, f"containerd{suffix}.log")
        env = {"PATH": foreign.PATH}
        with open(path, "w") as log:
            self.daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        world.on_close(foreign.end, self.daemon)
        foreign.wait_for(self.daemon, [*foreign.ctr(self.state), "version"], path)
        self.worker = world.worker(f"ctr{suffix}")
        self._serial = itertools.count()

    def command(self, *words: str) -> Command:
        """ctr against our own containerd."""
        return Command((*foreign.ctr(self.state), *words))

    def run_true(self, reference: str) -> Contender:
        """`ctr run --rm busybox N true`: its default is a network namespace without interfaces."""
        self.have(reference)
        return Contender(
            self.name,
            self.worker,
            lambda: self.command("run", "--rm", reference, f"bench-{next(self._serial)}", "true"),
        )

    def have(self, reference: str) -> None:
        """Pull it, untimed."""
        self.worker.time(self._pull(reference))

    def _pull(self, reference: str) -> Command:
        return self.command("images", "pull", "--plain-http", reference)

    def pull(self, reference: str, *beside: str) -> Contender:
        """A pull into a store that has only the images `beside`; removing it again is not timed."""
        for one in beside:
            self.have(one)

        def clear() -> None:
            self.worker.time(self.command("images", "rm", "--sync", reference), ok=(0, 1))

        return Contender(self.name, self.worker, lambda: self._pull(reference), before=clear)

    def again(self, reference: str) -> Contender:
        """A pull of what is there."""
        self.have(reference)
        return Contender(self.name, self.worker, lambda: self._pull(reference))
