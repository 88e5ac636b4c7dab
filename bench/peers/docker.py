"""docker client against a dockerd of our own: own root, state and socket, started by hand, bridge and rules off."""

from __future__ import annotations

import os
import subprocess
import time

from bench.harness import Command, Contender
from bench.world import World


class Docker:
    """dockerd starts its own containerd; all of it lives in the benchmark's namespaces and goes with them."""

    packages = ("docker.io", "containerd", "runc")

    def __init__(self, world: World, *, disk: bool = False) -> None:
        self.world = world
        self.name = "docker"
        suffix = "-disk" if disk else ""
        self.home = world.folder("docker", disk=disk)
        self.state = world.folder(f"docker-run{suffix}")
        self.socket = os.path.join(self.state, "docker.sock")
        self.env = (
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", self.state),
            ("DOCKER_HOST", f"unix://{self.socket}"),
        )
        self._start(suffix)
        self.worker = world.worker(f"docker{suffix}")

    def _start(self, suffix: str) -> None:
        log = open(os.path.join(self.world.logs, f"dockerd{suffix}.log"), "w")
        command = [
            *("/usr/sbin/dockerd", "--data-root", os.path.join(self.home, "root")),
            *("--exec-root", os.path.join(self.state, "exec"), "--pidfile", os.path.join(self.state, "pid")),
            *("--host", f"unix://{self.socket}", "--bridge", "none", "--iptables=false", "--ip6tables=false"),
            *("--storage-driver", "overlay2", "--log-level", "warn"),
        ]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.state}
        self.daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
        self.world.on_close(self._stop)
        deadline = time.monotonic() + 30
        while not self._answers():
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd did not come up; its words are in {log.name}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        probe = subprocess.run(["/usr/bin/docker", "info"], env=dict(self.env), capture_output=True)
        return probe.returncode == 0

    def _stop(self) -> None:
        self.daemon.terminate()
        try:
            self.daemon.wait(20)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()

    def command(self, *words: str) -> Command:
        """docker against our own daemon."""
        return Command(("/usr/bin/docker", *words), self.env)

    def run_true(self, reference: str) -> Contender:
        """`run --rm --network none busybox true`."""
        self.worker.time(self.command("pull", "-q", reference))
        words = ("run", "--rm", "--network", "none", reference, "true")
        return Contender(self.name, self.worker, lambda: self.command(*words))

    def pull(self, reference: str) -> Contender:
        """A pull into a store without the image; removing it is not timed."""

        def clear() -> None:
            self.worker.time(self.command("rmi", "--force", reference), ok=(0, 1))

        return Contender(self.name, self.worker, lambda: self.command("pull", "-q", reference), before=clear)
