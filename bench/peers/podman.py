"""podman 4.3.1 with crun (`tests/kit/foreign.py`); the v2 half of a hybrid tree is hidden from both."""

from __future__ import annotations

import os

from bench.harness import Command, Contender, Worker
from bench.world import World
from kit import foreign, system


class Podman:
    """Rootful; `disk` puts its store on the machine's disk."""

    packages = ("podman", "crun", "conmon")
    syncs = "records"

    def __init__(self, world: World, *, disk: bool = False) -> None:
        self.world = world
        self.name = "podman + crun"
        suffix = "-disk" if disk else ""
        self.home = world.folder("podman", disk=disk)
        self.run = world.folder(f"podman-run{suffix}")
        # What it fetches passes through $TMPDIR, which belongs where the store is.
        self.env = (
            ("PATH", foreign.PATH),
            ("HOME", "/root"),
            ("CONTAINERS_CONF", foreign.containers_conf(self.run)),
            ("TMPDIR", world.folder("podman-tmp", disk=disk)),
        )
        # What it knows of blobs it keeps there whatever its store is: 100 fdatasync(2) on the host's disk a pull.
        known = world.folder("podman-known", disk=disk)

        def enter() -> None:
            world.without_unified()
            os.makedirs("/var/lib/containers", exist_ok=True)
            system.mount(known, "/var/lib/containers", flags=system.MS_BIND)

        self.worker: Worker = world.worker(f"podman{suffix}", enter)

    def command(self, *words: str, store: str = "store") -> Command:
        """podman with its own store and run root; `store` names one of several."""
        return Command((*foreign.podman(os.path.join(self.home, store), f"{self.run}/{store}"), *words), self.env)

    def run_true(self, reference: str) -> Contender:
        """`run --rm --network none busybox true`."""
        self.have(reference)
        words = ("run", "--rm", "--network", "none", "--pull", "never", reference, "true")
        return Contender(self.name, self.worker, lambda: self.command(*words))

    def have(self, reference: str, *, store: str = "store") -> None:
        """Pull it, untimed."""
        self.worker.time(self._pull(reference, store))

    def _pull(self, reference: str, store: str) -> Command:
        return self.command("pull", "-q", "--tls-verify=false", reference, store=store)

    def pull(self, reference: str, *beside: str) -> Contender:
        """A pull into a store that has only the images `beside`; removing it again is not timed."""
        store = "beside" if beside else "pull"
        for one in beside:
            self.have(one, store=store)

        def clear() -> None:
            self._remove(reference, store)

        return Contender(self.name, self.worker, lambda: self._pull(reference, store), before=clear)

    def _remove(self, reference: str, store: str) -> None:
        self.worker.time(self.command("info", store=store))
        self.worker.time(self.command("rmi", "--force", reference, store=store), ok=(0, 1))

    def again(self, reference: str) -> Contender:
        """A pull of what is there."""
        self.have(reference)
        return Contender(self.name, self.worker, lambda: self._pull(reference, "store"))

    def push(self, reference: str, target: str) -> Contender:
        """A push to another name; podman keeps no compressed layers, so that it compresses them anew."""
        self.have(reference)
        words = ("push", "-q", "--tls-verify=false", reference, target)
        return Contender(self.name, self.worker, lambda: self.command(*words))

    def save(self, reference: str, path: str) -> Contender:
        """`podman save` into a file, which must not be there."""
        self.have(reference)

        def clear() -> None:
            if os.path.exists(path):
                os.unlink(path)

        words = ("save", "-q", "-o", path, reference)
        return Contender(self.name, self.worker, lambda: self.command(*words), before=clear)

    def load(self, reference: str, path: str) -> Contender:
        """`podman load` of the archive at `path` into a store without the image."""
        return Contender(
            self.name,
            self.worker,
            lambda: self.command("load", "-q", "-i", path, store="pull"),
            before=lambda: self._remove(reference, "pull"),
        )
