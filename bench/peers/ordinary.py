"""Engines of an ordinary user, each in a network and mount namespace of its own with a host outside (`bridged.py`).

Holds: Atoll with each way out, and Podman with slirp4netns (4.3 knows no pasta). Does not hold: what is measured
(`rows/networks_rootless.py`). All run as the same user, with a /dev/net/tun that he may open.
"""

from __future__ import annotations

import os
import subprocess

from bench.peers.atoll import program
from bench.peers.bridged import IMAGE, THERE, Bridged
from kit import foreign
from kit.sandbox import cgroup_mounts


class Ordinary(Bridged):
    """One of them; `network` is what its containers are on."""

    packages = ("iperf3", "iproute2", "passt", "slirp4netns", "uidmap")
    network = ""

    def start(self) -> None:
        """The user's own places, and a way out of the namespace."""
        self.user = self.world.sandbox.users["atoll-full"]
        os.chown(self.home, self.user.uid, self.user.gid)
        node = os.path.join(self.home, "tun")
        os.mknod(node, 0o020666, os.makedev(10, 200))
        os.chmod(node, 0o666)
        self.inside("mount", "--bind", node, "/dev/net/tun")
        self.inside("ip", "route", "add", "default", "via", THERE)
        self.as_user = ("/usr/bin/setpriv", "--reuid", str(self.user.uid), "--regid", str(self.user.gid),
                        "--clear-groups")  # fmt: skip
        self.env |= {"XDG_RUNTIME_DIR": self.user.runtime_dir, "USER": self.user.name, "LANG": "C.UTF-8"}

    def container(self, name: str, *flags: str) -> tuple[int, str]:
        """(pid, "") of one that sleeps."""
        self.good("run", "-d", "--name", name, "--network", self.network, *flags, IMAGE, "sleep", "1000")
        return int(self.good("inspect", "--format", "{{.State.Pid}}", name)), ""


class AtollOrdinary(Ordinary):
    """Atoll; the kinds below name the way out."""

    uplink = ""

    def start(self) -> None:
        """Roots of its own."""
        super().start()
        config = os.path.join(self.home, "atoll.toml")
        with open(config, "w") as stream:
            stream.write(f'[network]\nuplink = "{self.uplink}"\n')
        self.env |= {"ATOLL_DATA_ROOT": f"{self.home}/data", "ATOLL_RUN_ROOT": f"{self.home}/run",
                     "ATOLL_CONFIG": config}  # fmt: skip
        self.words = (*self.as_user, program())
        self.network = "bridge"

    def stop(self) -> None:
        """Helpers and spawner, too."""
        from kit import processes

        super().stop()
        self.run("network", "prune", "-f", "--all")
        for one in processes.spawners(f"{self.home}/run"):
            processes.end(one.pid)


class AtollPasta(AtollOrdinary):
    """By pasta."""

    name, uplink = "atoll-pasta", "pasta"


class AtollSlirp(AtollOrdinary):
    """By slirp4netns."""

    name, uplink = "atoll-slirp4netns", "slirp4netns"


class AtollForwarder(AtollOrdinary):
    """By Atoll's own forwarder."""

    name, uplink = "atoll-forwarder", "forwarder"


class PodmanOrdinary(Ordinary):
    """Podman with crun and slirp4netns."""

    name = "podman-slirp4netns"
    packages = (*Ordinary.packages, "podman", "crun", "conmon")
    network = "slirp4netns"

    def start(self) -> None:
        """crun refuses a hybrid tree."""
        super().start()
        for name, path in cgroup_mounts():
            if not name and self.world.hybrid:
                self.inside("umount", path)
        run = self.world.folder("ordinary-podman-run")
        config = foreign.containers_conf(run)
        for folder in (run, self.home):
            subprocess.run(["chown", "-R", f"{self.user.uid}:{self.user.gid}", folder], check=True)
        self.env |= {"CONTAINERS_CONF": config, "TMPDIR": self.home}
        self.words = (*self.as_user, *foreign.podman(f"{self.home}/store", run))

    def stop(self) -> None:
        """Its pause process, too."""
        super().stop()
        self.run("system", "migrate")


KINDS = (AtollPasta, AtollSlirp, AtollForwarder, PodmanOrdinary)
