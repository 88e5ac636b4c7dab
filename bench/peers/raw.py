"""runc and crun on a bundle, with nothing around them: the floor of each engine above."""

from __future__ import annotations

import itertools
import json
import os
import subprocess

from bench.harness import Command, Contender
from bench.world import World


class Raw:
    """`runtime run` of a plain directory; needs no image store."""

    packages = ("runc", "crun")

    def __init__(self, world: World, runtime: str) -> None:
        self.name = f"{runtime} raw"
        self.runtime = f"/usr/{'sbin' if os.path.exists(f'/usr/sbin/{runtime}') else 'bin'}/{runtime}"
        self.bundle = world.folder(f"bundle-{runtime}")
        self.state = world.folder(f"state-{runtime}")
        self.worker = world.worker(runtime, world.without_unified if runtime == "crun" else None)
        self._serial = itertools.count()
        config = os.path.join(self.bundle, "config.json")
        if not os.path.exists(config):
            subprocess.run(["/usr/sbin/runc", "spec", "--bundle", self.bundle], check=True)
        with open(config) as stream:
            spec = json.load(stream)
        spec["process"]["terminal"] = False
        spec["process"]["args"] = ["true"]
        spec["process"]["rlimits"] = []
        spec["root"] = {"path": world.rootfs("raw-rootfs"), "readonly": True}
        with open(config, "w") as stream:
            json.dump(spec, stream)

    def run_true(self) -> Contender:
        """`run N`."""

        def command() -> Command:
            words = (self.runtime, "--root", self.state, "run", "--bundle", self.bundle, f"b{next(self._serial)}")
            return Command(words)

        return Contender(self.name, self.worker, command)
