"""OCI runtimes on one raw bundle: atoll-runtime, runc and crun by the same command line, and a sealed bare Python.

Holds: `Bare` (run, exec, a bundle with a memory limit), `SealedPython`. Does not hold: engines above a runtime.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from bench.harness import Command, Contender
from bench.peers.atoll import program
from bench.world import REPOSITORY, World

SEAL = """
import os, sys
sys.path.append(sys.argv[1])
from atoll.runtime.quick import is_sealed
if not is_sealed():
    from atoll.linux.bare import read_only_overlay
    directory, _, name = os.readlink("/proc/self/exe").rpartition("/")
    program = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=read_only_overlay(directory))
    os.execve(f"/proc/self/fd/{program}", [sys.executable, "-SI", "-c", "pass"], os.environ)
"""


def docker_profile(capabilities: Sequence[str]) -> Any:
    """Docker's default profile as `linux.seccomp`; by the tree's own modules, which the bench does without else."""
    sys.path.append(os.path.join(REPOSITORY, "src"))
    from atoll.runtime import seccomp
    from atoll.spec.codec import dump

    return dump(seccomp.default_profile(frozenset(capabilities), docker=True))


def _path(name: str) -> str:
    if name == "atoll-runtime":
        return os.path.join(os.path.dirname(program()), name)
    return f"/usr/sbin/{name}" if os.path.exists(f"/usr/sbin/{name}") else f"/usr/bin/{name}"


class Bare:
    """One runtime with a bundle of its own for each `purpose`; `memory` is its limit in bytes, `profile` gives it the
    seccomp profile that Docker's daemon would write into the bundle."""

    packages = ("runc", "crun")

    def __init__(
        self, world: World, runtime: str, purpose: str = "run", *, memory: int = 0, profile: bool = False
    ) -> None:
        self.name, self.runtime = runtime, _path(runtime)
        tag = f"{runtime}-{purpose}-{memory}"
        self.bundle, self.state = world.folder(f"bare-{tag}"), world.folder(f"bare-state-{tag}")
        self.worker = world.worker(f"bare-{tag}", world.without_unified if runtime == "crun" else None)
        self._serial = itertools.count()
        subprocess.run(["/usr/sbin/runc", "spec", "--bundle", self.bundle], check=True)
        config = os.path.join(self.bundle, "config.json")
        with open(config) as stream:
            spec = json.load(stream)
        spec["process"] |= {"terminal": False, "args": ["true"], "rlimits": []}
        spec["process"]["capabilities"]["ambient"] = []
        spec["root"] = {"path": world.rootfs("raw-rootfs"), "readonly": True}
        if memory:
            spec["linux"]["resources"]["memory"] = {"limit": memory, "swap": memory}
        if profile:
            spec["linux"]["seccomp"] = docker_profile(spec["process"]["capabilities"]["bounding"])
        with open(config, "w") as stream:
            json.dump(spec, stream)

    def command(self, *words: str) -> Command:
        """The runtime with a root of its own."""
        return Command((self.runtime, "--root", self.state, *words))

    def run(self) -> Command:
        """Create, start, wait, delete."""
        return self.command("run", "--bundle", self.bundle, f"b{next(self._serial)}")

    def run_true(self) -> Contender:
        """`run` of `true`."""
        return Contender(f"{self.name} run", self.worker, self.run)

    def many(self, count: int, at_once: int) -> Contender:
        """`count` runs, `at_once` at a time, by xargs."""
        script = (
            f"seq {count} | xargs -P {at_once} -I N"
            f" {self.runtime} --root {self.state} run --bundle {self.bundle} m{next(self._serial)}-N"
        )
        return Contender(f"{self.name}, {at_once} at a time", self.worker, lambda: Command(("/bin/sh", "-c", script)))

    def exec_true(self, world: World) -> Contender:
        """`exec true` in a container that sleeps until the world ends."""
        config = os.path.join(self.bundle, "config.json")
        with open(config) as stream:
            spec = json.load(stream)
        spec["process"]["args"] = ["sleep", "1000"]
        with open(config, "w") as stream:
            json.dump(spec, stream)
        name = f"sleeper{next(self._serial)}"
        self.worker.time(self.command("run", "--detach", "--bundle", self.bundle, name))
        world.on_close(lambda: self.worker.time(self.command("delete", "--force", name), ok=range(256)))
        return Contender(f"{self.name} exec", self.worker, lambda: self.command("exec", name, "true"))


class SealedPython:
    """What every forking command of atoll-runtime pays before its own work: an interpreter, sealed, and again."""

    packages = ()

    def __init__(self, world: World) -> None:
        self.worker = world.worker("sealed-python")
        python = os.path.join(os.path.dirname(program()), "python3")
        self.python = python if os.path.exists(python) else "/usr/bin/python3"
        self.source = os.path.join(REPOSITORY, "src")

    def once(self) -> Contender:
        """Seal and end."""
        command = Command((self.python, "-SI", "-c", SEAL, self.source))
        return Contender("a sealed bare Python", self.worker, lambda: command)
