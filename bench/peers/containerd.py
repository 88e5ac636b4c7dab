"""`ctr` against a containerd of our own: own root, state and socket; CRI and other plug-ins off."""

from __future__ import annotations

import itertools
import os
import subprocess
import time

from bench.harness import Command, Contender
from bench.world import World

_CONF = """version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{socket}"
[ttrpc]
address = "{socket}.ttrpc"
"""


class Containerd:
    """ctr + runc."""

    packages = ("containerd", "runc")

    def __init__(self, world: World) -> None:
        self.world = world
        self.name = "ctr + runc"
        home = world.folder("containerd")
        self.socket = os.path.join(home, "sock")
        conf = os.path.join(home, "config.toml")
        with open(conf, "w") as stream:
            stream.write(_CONF.format(root=f"{home}/root", state=f"{home}/state", socket=self.socket))
        log = open(os.path.join(world.logs, "containerd.log"), "w")
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        self.daemon = subprocess.Popen(
            ["/usr/bin/containerd", "--config", conf, "--log-level", "warn"], stdout=log, stderr=log, env=env
        )
        world.on_close(self._stop)
        deadline = time.monotonic() + 20
        probe = ["/usr/bin/ctr", "--address", self.socket, "version"]
        while subprocess.run(probe, capture_output=True).returncode:
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"containerd did not come up; its words are in {log.name}")
            time.sleep(0.1)
        self.worker = world.worker("ctr")
        self._serial = itertools.count()

    def _stop(self) -> None:
        self.daemon.terminate()
        self.daemon.wait(20)

    def command(self, *words: str) -> Command:
        """ctr against our own containerd."""
        return Command(("/usr/bin/ctr", "--address", self.socket, *words))

    def run_true(self, reference: str) -> Contender:
        """`ctr run --rm busybox N true`: its default is a network namespace without interfaces."""
        self.worker.time(self.command("images", "pull", "--plain-http", reference))
        return Contender(
            self.name,
            self.worker,
            lambda: self.command("run", "--rm", reference, f"bench-{next(self._serial)}", "true"),
        )
