"""Other engines by their own commands: docker, podman, ctr, each with a store, and where it has one a daemon, of
its own.

Holds: `Docker`, `Podman`, `Containerd`. Does not hold: runtimes without an engine (`bundles.py`).

A daemon that the user runs is left alone: ours lies in the private place, with its own socket, without bridge and
firewall rules, and goes with it. Containers get no network, as those of the ladder.
"""

from __future__ import annotations

import os
import subprocess
import time

from atoll.base import errors, files
from atoll.compare import processes
from atoll.compare.place import IMAGE, PROGRAM
from atoll.compare.rungs.hybrid import leave_unified, remove_groups
from atoll.compare.rungs.way import Way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.copies import Copy
    from atoll.compare.place import Place

_PATIENCE = 30.0
_CONTAINERD = """version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{state}/sock"
[ttrpc]
address = "{state}/sock.ttrpc"
"""
_PODMAN = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Engine(Way):
    """One with a command like Docker's."""

    has_cgroup = True
    program = ""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._daemon: subprocess.Popen[bytes] | None = None
        self._settings: dict[str, str] = {}
        self._group = f"atoll-compare-{os.getpid()}"

    @property
    def env(self) -> dict[str, str]:
        return {**self.place.env, **self._settings}

    @property
    def keeps(self) -> str | None:
        return self.place.folder({"ctr": "containerd"}.get(self.name, self.name))

    def command(self, *words: str) -> list[str]:
        """The engine's command with its private places."""
        raise NotImplementedError

    def _found(self, name: str) -> str:
        """The program's path; what it keeps at fixed places is kept apart. Raises Unsupported."""
        from atoll.engine.doctor.findings import Host

        path = Host(self.place.uid).program(name)
        if path is None:
            raise errors.Unsupported(f"there is no program '{name}' on this host")
        self.place.cover(_PLACES)
        return path

    def _quietly(self, *words: str) -> str:
        done = subprocess.run(
            self.command(*words),
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
            preexec_fn=self.enter,
        )
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise errors.Unavailable(lines[-1][:300] if lines else f"{words[0]} ended with code {done.returncode}")
        return done.stdout.decode(errors="replace")

    def _start_daemon(self, argv: list[str], probe: list[str]) -> None:
        """Start it and wait until it answers. Raises Unavailable with its last words."""
        log = f"{self.place.data}/{self.name}.log"
        with open(log, "wb") as out:
            self._daemon = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env, start_new_session=True
            )
        deadline = time.monotonic() + _PATIENCE
        while subprocess.run(probe, env=self.env, capture_output=True, check=False, timeout=60).returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                lines = files.read_text(log).strip().splitlines()
                raise errors.Unavailable(
                    f"its daemon does not come up: {lines[-1][:300] if lines else 'without a word'}"
                )
            time.sleep(0.1)

    def end(self) -> None:
        if self._daemon is not None:
            mine = processes.below(self._daemon.pid) | {self._daemon.pid}
            self._daemon.terminate()
            try:
                self._daemon.wait(20)
            except subprocess.TimeoutExpired:
                pass
            processes.end({pid for pid in mine if processes.alive(pid)})
        remove_groups(self._group)

    def standing(self) -> set[int]:
        if self._daemon is None:
            return set()
        return {self._daemon.pid} | processes.below(self._daemon.pid)

    def stop(self, copy: Copy) -> None:
        self._quietly("stop", "-t", "10", copy.name)

    def remove(self, copy: Copy) -> None:
        try:
            self._quietly("rm", "-f", copy.name)
        except errors.Unavailable:
            pass
        copy.close()

    def listed(self, copy: Copy) -> bool:
        try:
            return copy.name in self._quietly("ps", "--format", "{{.Names}}").split()
        except errors.Unavailable:
            return False


def _background(detached: bool) -> list[str]:
    return ["-d"] if detached else []


_PLACES = ("/run/containerd", "/run/docker", "/run/runc", "/run/crun", "/run/libpod", "/run/containers")


class Docker(Engine):
    """docker with a dockerd of its own, which starts a containerd of its own."""

    name, title, has_daemon = "docker", "docker", True

    def begin(self) -> None:
        client, daemon = self._found("docker"), self._found("dockerd")
        if self.place.uid:
            raise errors.Unsupported("a dockerd of its own needs root")
        root, state = self.place.folder("docker"), self.run_root("docker")
        self._client = [client, "--host", f"unix://{state}/docker.sock"]
        self._settings = {"DOCKER_CONFIG": state}
        argv = [daemon, "--data-root", root, "--exec-root", f"{state}/exec", "--pidfile", f"{state}/pid"]
        argv += ["--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "overlay2"]
        argv += ["--host", f"unix://{state}/docker.sock", "--log-level", "warn", "--cgroup-parent", f"/{self._group}"]
        self._start_daemon(argv, self.command("info"))
        self._quietly("load", "-q", "-i", self.place.archive())
        self.try_once()

    def command(self, *words: str) -> list[str]:
        return [*self._client, *words]

    def argv(self, name: str, words: tuple[str, ...], port: int, *, detached: bool = False) -> list[str]:
        return self.command(
            "run", *_background(detached), "--name", name, "--network", "none", IMAGE, PROGRAM, *words
        )


class Podman(Engine):
    """podman, which has no daemon but a conmon for each container."""

    name, title = "podman", "podman"

    def begin(self) -> None:
        program = self._found("podman")
        from atoll.engine.doctor.findings import Host

        runtime = next((one for one in ("crun", "runc") if Host(self.place.uid).program(one)), "crun")
        state = self.run_root("podman")
        settings = f"{self.place.data}/containers.conf"
        files.write_atomic(settings, _PODMAN)
        # What it keeps by user, whatever else it is told.
        self._settings = {"CONTAINERS_CONF": settings, "HOME": self.place.folder("podman-home")}
        self._settings["XDG_RUNTIME_DIR"] = state
        self._client = [program, "--root", self.place.folder("podman"), "--runroot", f"{state}/run"]
        self._client += ["--tmpdir", f"{state}/tmp", "--storage-driver", "overlay", "--runtime", runtime]
        self.title = f"podman ({runtime})"
        self._quietly("load", "-q", "-i", self.place.archive())
        self.try_once()

    def enter(self) -> None:
        leave_unified()

    def command(self, *words: str) -> list[str]:
        return [*self._client, *words]

    def argv(self, name: str, words: tuple[str, ...], port: int, *, detached: bool = False) -> list[str]:
        group = ["--cgroup-parent", f"/{self._group}"] if not self.place.uid else []
        return self.command(
            "run", *_background(detached), "--name", name, "--network", "none", *group, IMAGE, PROGRAM, *words
        )

    def end(self) -> None:
        if self.place.uid:
            try:
                self._quietly("system", "migrate")  # its pause process
            except errors.AtollError:
                pass
        super().end()


class Containerd(Engine):
    """ctr with a containerd of its own: a client for tests, but the daemon that many use."""

    name, title, has_daemon = "ctr", "ctr (containerd)", True

    def begin(self) -> None:
        client, daemon = self._found("ctr"), self._found("containerd")
        if self.place.uid:
            raise errors.Unsupported("a containerd of its own needs root")
        state = self.run_root("containerd")
        settings = f"{state}/config.toml"
        files.write_atomic(settings, _CONTAINERD.format(root=self.place.folder("containerd"), state=state))
        self._client = [client, "--address", f"{state}/sock"]
        self._start_daemon([daemon, "--config", settings, "--log-level", "warn"], self.command("version"))
        self._quietly("images", "import", self.place.archive())
        self.try_once()

    def command(self, *words: str) -> list[str]:
        return [*self._client, *words]

    def argv(self, name: str, words: tuple[str, ...], port: int, *, detached: bool = False) -> list[str]:
        return self.command(
            "run", *_background(detached), "--cgroup", f"/{self._group}/{name}", IMAGE, name, PROGRAM, *words
        )

    def stop(self, copy: Copy) -> None:
        self._quietly("task", "kill", "-s", "SIGTERM", copy.name)
        self.end_front(copy)

    def remove(self, copy: Copy) -> None:
        for words in (("task", "kill", "-s", "SIGKILL"), ("task", "delete", "--force"), ("container", "delete")):
            if words[0] != "task" or copy.process.poll() is None or words[1] == "delete":
                try:
                    self._quietly(*words, copy.name)
                except errors.Unavailable:
                    continue
        copy.close()

    def listed(self, copy: Copy) -> bool:
        try:
            return any(
                line.split()[:1] == [copy.name] and "RUNNING" in line
                for line in self._quietly("task", "ls").splitlines()
            )
        except errors.Unavailable:
            return False
