"""podman 4.3.1 with crun: cgroupfs, file events, lower rlimits; the v2 half of a hybrid tree hidden."""

from __future__ import annotations

import itertools
import os
import shutil

from bench.harness import Command, Contender, Worker
from bench.world import World

_CONF = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
"""


class Podman:
    """Rootful; `disk` puts its store on the machine's disk."""

    packages = ("podman", "crun", "conmon")

    def __init__(self, world: World, *, disk: bool = False) -> None:
        self.world = world
        self.name = "podman + crun"
        self.home = world.folder("podman", disk=disk)
        self.run = world.folder("podman-run")
        conf = os.path.join(self.run, "containers.conf")
        with open(conf, "w") as stream:
            stream.write(_CONF)
        self.env = (
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("CONTAINERS_CONF", conf),
            ("TMPDIR", self.run),
        )
        self.worker: Worker = world.worker(f"podman{'-disk' if disk else ''}", world.without_unified)
        self._serial = itertools.count()

    def command(self, *words: str, store: str | None = None) -> Command:
        """podman with its own store and run root."""
        root = store or os.path.join(self.home, "store")
        where = (
            "--root",
            root,
            "--runroot",
            os.path.join(self.run, "run"),
            "--tmpdir",
            os.path.join(self.run, "tmp"),
        )
        return Command(("/usr/bin/podman", *where, "--storage-driver", "overlay", *words), self.env)

    def run_true(self, reference: str) -> Contender:
        """`run --rm --network none busybox true`."""
        self.worker.time(self.command("pull", "-q", "--tls-verify=false", reference))
        words = ("run", "--rm", "--network", "none", "--pull", "never", reference, "true")
        return Contender(self.name, self.worker, lambda: self.command(*words))

    def pull(self, reference: str) -> Contender:
        """A pull into an empty store; removing the store is not timed."""
        store = os.path.join(self.home, "pull")

        def clear() -> None:
            self.worker.time(self.command("info", store=store))
            self.worker.time(self.command("rmi", "--all", "--force", store=store))

        def remove() -> None:
            shutil.rmtree(store, ignore_errors=True)

        self.world.on_close(remove)
        words = ("pull", "-q", "--tls-verify=false", reference)
        return Contender(self.name, self.worker, lambda: self.command(*words, store=store), before=clear)
