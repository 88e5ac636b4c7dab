"""docker's client against a dockerd of our own (`tests/kit/foreign.py`): own root, state and socket, no bridge."""

from __future__ import annotations

import os
import subprocess

from bench.harness import Command, Contender
from bench.world import World
from kit import foreign


class Docker:
    """dockerd starts its own containerd; all of it lives in the benchmark's namespaces and goes with them."""

    packages = ("docker.io", "containerd", "runc")
    syncs = "records"

    def __init__(self, world: World, *, disk: bool = False) -> None:
        self.world = world
        self.name = "docker"
        suffix = "-disk" if disk else ""
        self.state = world.folder(f"docker-run{suffix}")
        self.env = (
            ("PATH", foreign.PATH),
            ("HOME", self.state),
            ("DOCKER_HOST", f"unix://{self.state}/docker.sock"),
        )
        argv = foreign.dockerd(os.path.join(world.folder("docker", disk=disk), "root"), self.state)
        path = os.path.join(world.logs, f"dockerd{suffix}.log")
        env = {"PATH": foreign.PATH, "HOME": self.state}
        with open(path, "w") as log:
            self.daemon = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
        world.on_close(foreign.end, self.daemon)
        foreign.wait_for(self.daemon, ["/usr/bin/docker", "info"], path, env=dict(self.env))
        self.worker = world.worker(f"docker{suffix}")

    def command(self, *words: str) -> Command:
        """docker against our own daemon."""
        return Command(("/usr/bin/docker", *words), self.env)

    def run_true(self, reference: str) -> Contender:
        """`run --rm --network none busybox true`."""
        self.have(reference)
        words = ("run", "--rm", "--network", "none", reference, "true")
        return Contender(self.name, self.worker, lambda: self.command(*words))

    def have(self, reference: str) -> None:
        """Pull it, untimed."""
        self.worker.time(self.command("pull", "-q", reference))

    def _remove(self, reference: str) -> None:
        self.worker.time(self.command("rmi", "--force", reference), ok=(0, 1))

    def pull(self, reference: str, *beside: str) -> Contender:
        """A pull into a store that has only the images `beside`; removing it again is not timed."""
        for one in beside:
            self.have(one)

        def clear() -> None:
            self._remove(reference)

        return Contender(self.name, self.worker, lambda: self.command("pull", "-q", reference), before=clear)

    def again(self, reference: str) -> Contender:
        """A pull of what is there."""
        self.have(reference)
        return Contender(self.name, self.worker, lambda: self.command("pull", "-q", reference))

    def push(self, reference: str, target: str) -> Contender:
        """A push to another name."""
        self.have(reference)
        self.worker.time(self.command("tag", reference, target))
        return Contender(self.name, self.worker, lambda: self.command("push", "-q", target))

    def save(self, reference: str, path: str) -> Contender:
        """`docker save` into a file."""
        self.have(reference)
        return Contender(self.name, self.worker, lambda: self.command("save", "-o", path, reference))

    def load(self, _: str, path: str) -> Contender:
        """`docker load` of the archive at `path` into a store without any image."""
        return Contender(
            self.name,
            self.worker,
            lambda: self.command("load", "-q", "-i", path),
            before=lambda: self.worker.time(self.command("image", "prune", "--all", "--force")),
        )
