"""runc and crun beside atoll-runtime, by the same command line on the same bundles.

Holds: `judged`, a `Runtime` for each by name. crun 1.8 refuses a hybrid cgroup tree: its commands run in a mount
namespace in which the v2 half is not to be seen. Does not hold: what is asked of them (`tests/validation`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import Any

from kit import leaks
from kit.bundle import Bundle, Runtime
from kit.command import installed
from kit.sandbox import cgroup_mounts, remove_cgroups

NAMES = ("runc", "crun", "atoll-runtime")


class Judged(Runtime):
    """A runtime on bundles of the version that Debian 12's runtimes know."""

    def bundle(self) -> Bundle:
        """A fresh bundle."""
        bundle = super().bundle()
        bundle.config["ociVersion"] = "1.0.2"
        return bundle

    def clear(self) -> None:
        """Delete every container, and the cgroups that a peer leaves behind where it refuses one."""
        names = list(self.ids)
        super().clear()
        if not self.program.endswith("atoll-runtime"):
            for place in [f"{path}/{name}" for _, path in cgroup_mounts() for name in names]:
                remove_cgroups(place)


class Hidden(Judged):
    """A runtime that does not see the v2 half of a hybrid tree."""

    def __init__(self, folder: str, *, program: str) -> None:
        super().__init__(folder, program=program)
        self._holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "infinity"])
        leaks.SERVICES.add(self._holder.pid)
        self._mounts = f"/proc/{self._holder.pid}/ns/mnt"
        while os.readlink(self._mounts) == os.readlink("/proc/self/ns/mnt"):
            time.sleep(0.005)
        for place in [path for name, path in cgroup_mounts() if not name]:
            subprocess.run(["nsenter", f"--mount={self._mounts}", "umount", place], check=True)

    def popen(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        how["before"] = ["nsenter", f"--mount={self._mounts}", f"--wd={how.get('cwd', '/')}", self.program]
        return super().popen(*words, **how)

    def close(self) -> None:
        """End the holder of the mounts."""
        leaks.SERVICES.discard(self._holder.pid)
        self._holder.kill()
        self._holder.wait()


def judged(name: str, folder: str) -> Runtime:
    """The runtime of that name with a root directory below `folder`."""
    if name == "atoll-runtime":
        return Judged(folder, program=installed(name))
    program = shutil.which(name, path="/usr/sbin:/usr/bin")
    assert program, f"install Debian's {name}"
    if name == "crun" and len({bool(kind) for kind, _ in cgroup_mounts()}) == 2:
        return Hidden(folder, program=program)
    return Judged(folder, program=program)


def close(runtime: Runtime) -> None:
    """Remove its containers, and what holds its mounts."""
    try:
        runtime.clear()
    finally:
        if isinstance(runtime, Hidden):
            runtime.close()
