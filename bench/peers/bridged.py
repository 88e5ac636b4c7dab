"""Engines with a bridge, each in a network and mount namespace of its own, and a host outside each of them.

Holds: `Bridged` and its three kinds. Does not hold: what is measured (`rows/networks.py`). What an engine does to
rules, links and sysctls goes with its namespace, and none is in another's way (dockerd drops what it does not know).

    engine's namespace 203.0.113.1 ── up0 ═ up1 ── 203.0.113.2 outside
    programs that measure run on the host's files in the network namespace of a container (nsenter), the same for all
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

from bench.harness import Command, Contender
from bench.peers.atoll import program
from bench.world import World
from kit import foreign
from kit.engines import root_archive
from kit.sandbox import cgroup_mounts

HERE, THERE = "203.0.113.1", "203.0.113.2"
IMAGE = "bridged"
PORT = 5201


class Bridged:
    """An engine; `words` is its command, `network` flags of a container on its bridge."""

    name = ""
    packages: tuple[str, ...] = ("iperf3", "dnsperf", "iproute2")
    dns = ""

    def __init__(self, world: World) -> None:
        self.world = world
        self.home = world.folder(f"bridged-{self.name}")
        self.words: Sequence[str] = ()
        self.env: dict[str, str] = {"PATH": foreign.PATH, "HOME": self.home}
        self.holder = self._hold("-n", "-m", "--propagation", "private")
        self.outside = self._hold("-n")
        self._link()
        self.worker = world.worker(f"bridged-{self.name}")
        self.start()
        world.on_close(self.stop)
        folder = world.folder(f"bridged-root-{self.name}")
        self.good("import", root_archive(folder), IMAGE)
        self.good("network", "create", "bench")

    def _hold(self, *flags: str) -> subprocess.Popen[bytes]:
        one = subprocess.Popen(["unshare", *flags, "sleep", "infinity"])
        while os.readlink(f"/proc/{one.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.005)
        self.world.on_close(one.wait)
        self.world.on_close(one.kill)
        return one

    def _link(self) -> None:
        for words in ("link set lo up", "link add up0 type veth peer name up1", f"addr add {HERE}/24 dev up0",
                      "link set up0 up", f"link set up1 netns {self.outside.pid}"):  # fmt: skip
            self.inside("ip", *words.split())
        for words in (f"addr add {THERE}/24 dev up1", "link set lo up", "link set up1 up"):
            subprocess.run(self.at(self.outside.pid, "ip", *words.split()), check=True)

    def start(self) -> None:
        """Have it ready for commands."""
        raise NotImplementedError

    def stop(self) -> None:
        """End what it has started."""
        listed = self.run("ps", "-a", "-q").stdout.split()
        if listed:
            self.run("rm", "-f", *listed)

    # -- commands

    def argv(self, *words: str) -> tuple[str, ...]:
        """A command in the engine's namespaces."""
        return ("/usr/bin/nsenter", "-t", str(self.holder.pid), "-n", "-m", "--", *words)

    def inside(self, *words: str) -> None:
        """A program beside the engine."""
        subprocess.run(self.argv(*words), check=True)

    def at(self, pid: int, *words: str) -> list[str]:
        """A program in the network namespace of a process."""
        return ["/usr/bin/nsenter", "-t", str(pid), "-n", "--", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The engine's command."""
        return subprocess.run(
            self.argv(*self.words, *words), env=self.env, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    def good(self, *words: str) -> str:
        """The same, which must go well."""
        done = self.run(*words)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def container(self, name: str, *flags: str) -> tuple[int, str]:
        """(pid, address) of one that sleeps on the network `bench`."""
        self.good("run", "-d", "--name", name, "--network", "bench", *flags, IMAGE, "sleep", "1000")
        pid = int(self.good("inspect", "--format", "{{.State.Pid}}", name))
        shown = subprocess.run(self.at(pid, "ip", "-o", "-4", "addr", "show", "scope", "global"),
                               capture_output=True, text=True, check=True).stdout  # fmt: skip
        return pid, shown.split("inet ")[1].split("/")[0]

    def run_true(self, network: str) -> Contender:
        """`run --rm` of true on a network; what every engine does, it does in its namespaces."""
        words = self.argv(*self.words, "run", "--rm", "--network", network, IMAGE, "true")
        command = Command(words, tuple(self.env.items()))
        return Contender(f"{self.name} {network}", self.worker, lambda: command)


class AtollBridged(Bridged):
    """Atoll."""

    name = "atoll"
    dns = "gateway"

    def start(self) -> None:
        """Roots of its own."""
        config = os.path.join(self.home, "atoll.toml")
        open(config, "w").close()
        self.env |= {"ATOLL_DATA_ROOT": f"{self.home}/data", "ATOLL_RUN_ROOT": f"{self.home}/run",
                     "ATOLL_CONFIG": config, "LANG": "C.UTF-8"}  # fmt: skip
        self.words = (program(),)

    def stop(self) -> None:
        """The spawner, too."""
        from kit import processes

        super().stop()
        self.run("network", "prune", "-f", "--all")
        for one in processes.spawners(f"{self.home}/run"):
            processes.end(one.pid)


class PodmanBridged(Bridged):
    """Podman with crun, netavark and aardvark-dns."""

    name = "podman"
    packages = (*Bridged.packages, "podman", "crun", "conmon", "netavark", "aardvark-dns")
    dns = "gateway"

    def start(self) -> None:
        """crun refuses a hybrid tree; what podman knows of networks is kept in places of its own."""
        for name, path in cgroup_mounts():
            if not name and self.world.hybrid:
                self.inside("umount", path)
        for place in ("/var/lib/containers", "/etc/containers/networks", "/run/netns", "/run/containers"):
            os.makedirs(place, exist_ok=True)
            self.inside("mount", "-t", "tmpfs", "none", place)
        run = self.world.folder("bridged-podman-run")
        config = foreign.containers_conf(run)
        with open(config, "a") as stream:
            stream.write('[network]\nnetwork_backend = "netavark"\n')
        self.env |= {"CONTAINERS_CONF": config, "TMPDIR": self.home}
        self.words = foreign.podman(f"{self.home}/store", run)


class DockerBridged(Bridged):
    """dockerd with its own bridge and rules."""

    name = "docker"
    packages = (*Bridged.packages, "docker.io", "containerd", "runc", "iptables")
    dns = "127.0.0.11"

    def start(self) -> None:
        """A daemon of its own."""
        run = self.world.folder("bridged-docker-run")
        argv = [one for one in foreign.dockerd(f"{self.home}/root", run) if "tables=false" not in one]
        at = argv.index("--bridge")
        argv[at : at + 2] = ["--bip", "172.17.0.1/16"]
        path = os.path.join(self.world.logs, "bridged-dockerd.log")
        self.env["DOCKER_HOST"] = f"unix://{run}/docker.sock"
        with open(path, "w") as log:
            self.daemon = subprocess.Popen(self.argv(*argv), stdout=log, stderr=log, env=self.env)
        self.words = ("/usr/bin/docker",)
        foreign.wait_for(self.daemon, self.argv(*self.words, "info"), path, env=self.env)

    def stop(self) -> None:
        """The daemon, too."""
        super().stop()
        foreign.end(self.daemon)
