"""Rungs that are documents for an OCI runtime: what a container is made of, a brick at a time; and other runtimes.

Holds: `Bundled`, `LADDER`. All of the ladder is run by our own runtime's command (`atoll-runtime run`) on the same
unpacked root, so that two neighbours differ by one brick and nothing else:

    chroot       another root directory; no namespace (an ordinary user: a user namespace, which lets him)
    namespaces   + mounts, processes, network, IPC, host name, cgroups of its own
    cgroups      + limits: on processes, in the control group (which such a runtime gives to every container, the two
                 above included; there it is the caller's own group's child, and limits nothing)
    seccomp      + the filter, the capabilities of a container, no new privileges, masked and read-only paths

runc and crun get the last of these documents.
"""

from __future__ import annotations

import os
import subprocess

from atoll.base import errors, files, jsontext, launch
from atoll.compare.copies import Copy
from atoll.compare.place import DIRECTORY, PROGRAM
from atoll.compare.rungs.way import NONE, SHARED, Way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.compare.place import Place

CHROOT, NAMESPACES, CGROUPS, SECCOMP = "chroot", "namespaces", "cgroups", "seccomp"
LADDER = {
    CHROOT: "chroot",
    NAMESPACES: "+ namespaces",
    CGROUPS: "+ cgroups",
    SECCOMP: "+ seccomp, capabilities",
}
_PIDS = 1024


class Bundled(Way):
    """One document; `program` is another runtime's, else it is ours."""

    def __init__(self, place: Place, brick: str, *, runtime: str = "", program: str = "") -> None:
        super().__init__(place)
        self.brick = brick
        self.name, self.title = runtime or brick, (runtime and f"{runtime} (raw)") or LADDER[brick]
        self.network = SHARED if brick == CHROOT else NONE
        self.has_cgroup = brick in (CGROUPS, SECCOMP)
        self._program = program
        self._spec: dict[str, Any] = {}

    def begin(self) -> None:
        path = f"{self.place.bundle()}/config.json"
        self._spec = document(jsontext.loads(files.read_text(path)), self.brick, self.place)
        if self.name not in LADDER and not self._program:
            raise errors.Unsupported(f"there is no program '{self.name}' on this host")
        if self.place.uid and self._program:
            raise errors.Unsupported(
                "an ordinary user's other runtimes are not compared: their limits and maps differ"
            )
        if self.has_cgroup and self.place.uid and not _delegated():
            raise errors.Unsupported("no cgroup is delegated to this user ('atoll doctor' says how)")
        self.try_once()

    def argv(self, name: str, words: tuple[str, ...], port: int, *, detached: bool = False) -> list[str]:
        folder = self.place.folder(f"bundles/{name}")
        spec = {**self._spec, "process": {**self._spec["process"], "args": [PROGRAM, *words]}}
        if self.has_cgroup:
            spec["linux"] = {**spec["linux"], "cgroupsPath": f"/atoll-compare-{os.getpid()}/{name}"}
            if self.place.uid:
                del spec["linux"]["cgroupsPath"]  # below the user's own, where the runtime puts it
        if self._program:
            spec["ociVersion"] = "1.0.2"  # what those of this decade's distributions know
        files.write_atomic(f"{folder}/config.json", jsontext.dumps(spec))
        return self._runtime("run", "--bundle", folder, *(["--detach"] if detached else []), name)

    def enter(self) -> None:
        from atoll.compare.rungs.hybrid import leave_unified

        if self.name == "crun":
            leave_unified()

    def _runtime(self, *words: str) -> list[str]:
        root = ("--root", self.run_root(f"runtime-{self.name}"))
        if self._program:
            return [self._program, *root, *words]
        return launch.argv(*root, *words, module=launch.RUNTIME)

    def _quietly(self, *words: str) -> None:
        subprocess.run(
            self._runtime(*words),
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
            preexec_fn=self.enter,
        )

    def stop(self, copy: Copy) -> None:
        self._quietly("kill", copy.name, "TERM")
        self.end_front(copy)

    def remove(self, copy: Copy) -> None:
        if copy.process.poll() is None:
            self._quietly("kill", copy.name, "KILL")
            try:
                self.end_front(copy, 10)
            except errors.Timeout:
                pass
        # Whatever is left, or was in the background.
        if os.path.isdir(f"{self.run_root(f'runtime-{self.name}')}/{copy.name}"):
            self._quietly("delete", "--force", copy.name)
        copy.close()

    def listed(self, copy: Copy) -> bool:
        done = subprocess.run(
            self._runtime("state", copy.name), env=self.env, capture_output=True, timeout=60, check=False,
            preexec_fn=self.enter,
        )  # fmt: skip
        return b'"running"' in done.stdout

    def end(self) -> None:
        from atoll.compare.rungs.hybrid import remove_groups

        remove_groups(f"atoll-compare-{os.getpid()}")


def _delegated() -> bool:
    from atoll.engine.doctor.findings import GOOD, Host
    from atoll.engine.doctor.kernel import cgroups

    return any(one.title == "memory" and one.outcome == GOOD for one in cgroups(Host(os.geteuid())))


def document(base: dict[str, Any], brick: str, place: Place) -> dict[str, Any]:
    """The runtime specification's document of a rung, from the one that `atoll image bundle` wrote."""
    from atoll.engine.containers.defaults import ATOLL_CAPABILITIES, ATOLL_MASKED_PATHS, READONLY_PATHS
    from atoll.linux.capability import NAMES
    from atoll.runtime.seccomp import default_profile
    from atoll.spec.codec import dump

    full = brick == SECCOMP
    linux = dict(base["linux"])
    user = [one for one in linux["namespaces"] if one["type"] == "user"]
    # All, also where such documents leave the network out (an ordinary user's).
    kinds = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")]
    every = list(NAMES)
    caps = list(ATOLL_CAPABILITIES) if full else every
    process = {
        **base["process"],
        "terminal": False,
        "cwd": DIRECTORY,
        "noNewPrivileges": full,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), caps),
    }
    process.pop("rlimits", None)
    made = {key: linux[key] for key in ("uidMappings", "gidMappings") if key in linux}
    made["namespaces"] = user if brick == CHROOT else [*user, *kinds]
    if full:
        made |= {"maskedPaths": list(ATOLL_MASKED_PATHS), "readonlyPaths": list(READONLY_PATHS)}
        made["seccomp"] = dump(default_profile(frozenset(caps)))
    if brick in (CGROUPS, SECCOMP):
        made["resources"] = {"pids": {"limit": _PIDS}}
        if full and "resources" in linux and "devices" in linux["resources"]:
            made["resources"]["devices"] = linux["resources"]["devices"]
    spec = {
        **base,
        "process": process,
        "linux": made,
        "root": {"path": f"{place.bundle()}/rootfs", "readonly": False},
    }
    spec["mounts"] = [] if brick == CHROOT else base.get("mounts", [])
    if brick == CHROOT:
        spec.pop("hostname", None)
    return spec
