"""The corner everything is measured in: own namespaces, images, a registry, places to store, workers.

Holds: `World`. Does not hold: how a peer is configured (`peers/`). Nothing of it is left on the machine but the
cached images and what was installed from Debian.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(REPOSITORY, "tests"))

from bench.harness import Worker  # noqa: E402 - found only after the lines above
from kit import images, system  # noqa: E402 - found only after the lines above
from kit.registry import Registry  # noqa: E402 - found only after the lines above
from kit.sandbox import Sandbox, cgroup_mounts  # noqa: E402 - found only after the lines above

T = TypeVar("T")
PACKAGES = ("docker-registry", "debootstrap", "busybox-static")
BUSYBOX, DEBIAN = "busybox", "debian"


def install(packages: Iterable[str]) -> None:
    """apt-get install what is missing. To be called before the corner is entered: it has no network, and its own
    copies of /etc/passwd."""
    missing = sorted(p for p in set(packages) if not _installed(p))
    if missing:
        print(f"installing from Debian: {' '.join(missing)}", file=sys.stderr)
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _installed(package: str) -> bool:
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, text=True
    )
    return answer.stdout == "installed"


class World:
    """Use as a context manager; `close` undoes in reverse."""

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()
        self.sandbox = Sandbox()
        self.logs = ""
        self.disk = ""
        self._peers: dict[object, object] = {}
        self._made: dict[str, str] = {}
        self.hybrid = any(name == "" for name, _ in cgroup_mounts()) and len(cgroup_mounts()) > 1

    def __enter__(self) -> World:
        self.sandbox.enter()
        self._undo.callback(self.sandbox.leave)
        self.logs = self.folder("logs")
        os.chmod(self.logs, 0o777)
        self.disk = os.path.join(images.cache(), f"bench-{os.getpid()}")
        self._undo.callback(shutil.rmtree, self.disk, True)
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def on_close(self, action: Callable[..., object], *arguments: object) -> None:
        """Run at the end, last first."""
        self._undo.callback(action, *arguments)

    def folder(self, name: str, *, disk: bool = False) -> str:
        """A directory on tmpfs, or on the machine's disk."""
        path = os.path.join(self.disk if disk else self.sandbox.scratch, name)
        os.makedirs(path, exist_ok=True)
        return path

    @functools.cached_property
    def registry(self) -> Registry:
        """Debian's registry with busybox and debian in it (store on tmpfs)."""
        server = Registry(self.folder("registry"))
        self.on_close(server.stop)
        server.push(images.busybox(), BUSYBOX)
        server.push(images.debian(self.sandbox.run_outside), DEBIAN)
        return server

    def image(self, name: str, make: Callable[[], images.Image]) -> str:
        """A further image of the registry, made when it is first asked for; its reference."""
        if name not in self._made:
            self._made[name] = self.registry.push(make(), name)
        return self._made[name]

    @functools.cached_property
    def small_files(self) -> tuple[str, str]:
        """An image of twelve layers of many small files, and one that lacks the twelfth; their references."""
        layers = images.small_files()
        whole = self.image("small", lambda: images.assemble(layers, {}))
        return whole, self.image("small-below", lambda: images.assemble(layers[:-1], {}))

    @functools.cached_property
    def target(self) -> Registry:
        """A registry to push to."""
        server = Registry(self.folder("target"))
        self.on_close(server.stop)
        return server

    def empty_target(self) -> None:
        """Forget what was pushed: Debian's registry keeps nothing in memory."""
        shutil.rmtree(os.path.join(self.folder("target"), "data"), ignore_errors=True)

    def reference(self, name: str) -> str:
        """`host:port/name:latest` of an image in the registry."""
        return f"{self.registry.host}/{name}:latest"

    def worker(self, name: str, enter: Callable[[], None] | None = None) -> Worker:
        """A worker that is ended with the world."""
        one = Worker(name, os.path.join(self.logs, f"{name}.log"), enter)
        self.on_close(one.close)
        return one

    def without_unified(self) -> None:
        """In a worker: crun 1.8.1 and podman 4.3.1 refuse a hybrid tree, so hide its v2 half from them."""
        system.unshare(system.CLONE_NEWNS)
        system.mount("none", "/", flags=system.MS_REC | system.MS_PRIVATE)
        if self.hybrid:
            for name, path in cgroup_mounts():
                if name == "":
                    system.umount(path)

    def rootfs(self, name: str) -> str:
        """The busybox image unpacked, for raw runtimes."""
        path = self.folder(name)
        if not os.listdir(path):
            for layer in images.busybox().layers:
                subprocess.run(["tar", "-xzf", "-", "-C", path], input=layer.read(), check=True)
            for folder in ("proc", "sys", "dev"):
                os.makedirs(os.path.join(path, folder), exist_ok=True)
        return path

    def peer(self, make: Callable[..., T], *arguments: object, **how: object) -> T:
        """One instance per class and arguments: an engine that several rows use is set up once."""
        key = (make, arguments, tuple(sorted(how.items())))
        if key not in self._peers:
            self._peers[key] = make(self, *arguments, **how)
        return self._peers[key]  # type: ignore[return-value]
