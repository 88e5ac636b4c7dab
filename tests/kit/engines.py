"""Podman, containerd and dockerd of Debian on a runtime of ours: their own roots, states and sockets.

Holds: `Podman`, `Containerd`, `Docker`, each with `__call__(words) -> Result` and `stop`.
Does not hold: what they are asked to do; what makes each of them run on a machine such as ours (`foreign.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from kit import foreign, images, leaks, processes, system
from kit.command import Result
from kit.sandbox import Sandbox, User, cgroup_mounts, remove_cgroups


def root_archive(folder: str) -> str:
    """The busybox image's files as one tar, for `import`."""
    tree, archive = os.path.join(folder, "tree"), os.path.join(folder, "root.tar")
    os.makedirs(tree)
    for layer in images.busybox().layers:
        subprocess.run(["tar", "-xzf", "-", "-C", tree], input=layer.read(), check=True)
    subprocess.run(["tar", "-C", tree, "-cf", archive, "."], check=True)
    return archive


class Engine:
    """A command with an environment, run in a mount namespace of the engine's own."""

    command: Sequence[str] = ()
    cgroup = ""  # the parent that it makes at the top of each hierarchy, and never removes

    def __init__(self, sandbox: Sandbox, folder: str, *, user: User | None = None) -> None:
        self.sandbox, self.folder, self.user = sandbox, folder, user
        os.makedirs(folder, exist_ok=True)
        self.env = {"PATH": foreign.PATH, "HOME": folder, "TMPDIR": folder}
        self._holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "infinity"])
        leaks.SERVICES.add(self._holder.pid)
        leaks.FOREIGN.add(self.cgroup)
        path = f"/proc/{self._holder.pid}/ns/mnt"
        while os.readlink(path) == os.readlink("/proc/self/ns/mnt"):
            time.sleep(0.005)
        self._mounts = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def enter(self) -> None:
        """In a child: into the engine's mounts, and its user."""
        system.setns(self._mounts, system.CLONE_NEWNS)
        if self.user is not None:
            os.setgroups([])
            os.setresgid(self.user.gid, self.user.gid, self.user.gid)
            os.setresuid(self.user.uid, self.user.uid, self.user.uid)
        os.chdir("/")

    def __call__(self, *words: str, timeout: float = 60, stdin: str | None = None) -> Result:
        """Run the engine's command to its end."""
        began = time.monotonic()
        argv = [*self.command, *words]
        source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done: Any = subprocess.run(
            argv, env=self.env, preexec_fn=self.enter, capture_output=True, text=True, timeout=timeout, **source
        )
        return Result(tuple(argv[-len(words) :]), done.returncode, done.stdout, done.stderr, time.monotonic() - began)

    def good(self, *words: str, **how: Any) -> str:
        """Run, expect 0, give stdout."""
        return self(*words, **how).good()

    def stop(self) -> None:
        """End the holder of the mounts, and with it the mounts; remove the engine's cgroups."""
        for _, place in cgroup_mounts():
            remove_cgroups(os.path.join(place, self.cgroup))
        os.close(self._mounts)
        leaks.SERVICES.discard(self._holder.pid)
        self._holder.kill()
        self._holder.wait()


class Podman(Engine):
    """Podman 4.3.1; `hybrid` keeps the v2 half of a hybrid cgroup tree in its sight, which crun would refuse."""

    cgroup = "libpod_parent"

    def __init__(
        self, sandbox: Sandbox, folder: str, runtime: str, *, user: User | None = None, hybrid: bool = True
    ) -> None:
        super().__init__(sandbox, folder, user=user)
        self.env["CONTAINERS_CONF"] = foreign.containers_conf(folder)
        if not hybrid:
            self._hide_unified()
        archive = root_archive(folder)
        if user is not None:
            self.env |= {"HOME": user.home, "XDG_RUNTIME_DIR": user.runtime_dir, "USER": user.name}
            subprocess.run(["chown", "-R", f"{user.uid}:{user.gid}", folder], check=True)
        self.command = foreign.podman(f"{folder}/store", folder, runtime)
        self.good("import", "-q", archive, "busybox")

    def _hide_unified(self) -> None:
        places = [path for name, path in cgroup_mounts() if not name]
        for place in places:
            subprocess.run(["umount", place], preexec_fn=self.enter, check=True)

    def stop(self) -> None:
        """Remove every container, then the mounts."""
        self("rm", "--all", "--force", "--time", "0")
        self("pod", "rm", "--all", "--force", "--time", "0")
        for process in processes.descendants(os.getpid()):
            if self.user is not None and process.title == "catatonit -P":  # keeps an ordinary user's namespaces
                processes.end(process.pid)
        processes.reap()
        super().stop()


class Daemon(Engine):
    """An engine whose work a daemon does."""

    def start(self, argv: Sequence[str], probe: Sequence[str]) -> None:
        """Start the daemon and wait until `probe` ends with 0."""
        self.log = os.path.join(self.folder, "daemon.log")
        with open(self.log, "w") as log:
            self.daemon = subprocess.Popen(
                argv, env=self.env, preexec_fn=self.enter, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        leaks.SERVICES.add(self.daemon.pid)
        foreign.wait_for(self.daemon, probe, self.log, env=self.env, preexec_fn=self.enter)

    def stop(self) -> None:
        """End the daemon, then the mounts."""
        foreign.end(self.daemon)
        leaks.SERVICES.discard(self.daemon.pid)
        super().stop()
        processes.reap()


class Docker(Daemon):
    """dockerd with `runtime` as its default, driven by the docker client."""

    cgroup = "docker"

    def __init__(self, sandbox: Sandbox, folder: str, runtime: str) -> None:
        super().__init__(sandbox, folder)
        config = os.path.join(folder, "daemon.json")
        with open(config, "w") as stream:
            json.dump({"runtimes": {"judged": {"path": runtime}}, "default-runtime": "judged"}, stream)
        self.env["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
        self.command = ["docker"]
        self.env["PATH"] = f"/usr/local/bin:{foreign.PATH}"
        argv = foreign.dockerd(f"{folder}/root", folder, "--config-file", config)
        self.start(argv, ["docker", "info"])
        self.good("import", root_archive(folder), "busybox")


class Containerd(Daemon):
    """containerd, driven by ctr; `runtime` is what its runc shim executes."""

    cgroup = "default"

    def __init__(self, sandbox: Sandbox, folder: str, runtime: str, reference: str) -> None:
        super().__init__(sandbox, folder)
        self.runtime, self.reference = runtime, reference
        self.command = foreign.ctr(folder)
        argv = foreign.containerd(f"{folder}/root", folder)
        self.start(argv, [*self.command, "version"])
        self.good("images", "pull", "--plain-http", reference)

    def run(self, *words: str, flags: Sequence[str] = ("--rm",)) -> Result:
        """`ctr run`; `words` are the container's name and its command."""
        return self("run", "--runc-binary", self.runtime, *flags, self.reference, *words)
