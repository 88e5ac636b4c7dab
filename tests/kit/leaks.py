"""What must be the same before and after: processes, mounts, cgroups, namespaces, links, device nodes, descriptors.

Holds: `Count.now()` and `differences`. The session is a subreaper in namespaces of its own, so everything that a
test leaves is a descendant of ours, a line of our mountinfo, or a directory of our cgroup trees.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

from kit import processes
from kit.sandbox import cgroup_mounts

SERVICES: set[int] = set()
"""Processes of the session itself (registry, …): not counted, with what is below them."""


FOREIGN: set[str] = set()
"""Cgroups at the top of a hierarchy that belong to another engine under test; its fixture removes them in the end."""


@dataclass(frozen=True)
class Count:
    """One look."""

    processes: frozenset[str]
    mounts: frozenset[str]
    outer_mounts: frozenset[str]
    cgroups: frozenset[str]
    namespaces: frozenset[str]
    links: frozenset[str]
    devices: frozenset[str]
    descriptors: int

    @classmethod
    def now(cls, scratch: str) -> Count:
        """Look at everything; `scratch` tells our mounts on the host from everybody else's."""
        processes.reap()
        known = set(SERVICES)
        for pid in SERVICES:
            known.update(process.pid for process in processes.descendants(pid))
        ours = [p for p in processes.descendants(os.getpid()) if p.pid not in known and p.pid not in processes.KEEP]
        mine = set(processes.namespaces(os.getpid()).values())
        return cls(
            processes=frozenset(str(p) for p in ours),
            mounts=frozenset(_mounts("/proc/self/mountinfo")),
            outer_mounts=frozenset(line for line in _mounts("/proc/1/mountinfo") if scratch in line),
            cgroups=frozenset(_cgroups()),
            namespaces=frozenset(n for p in ours for n in processes.namespaces(p.pid).values() if n not in mine),
            links=frozenset(name for _, name in socket.if_nameindex()),
            devices=frozenset(_devices()),
            descriptors=len(os.listdir("/proc/self/fd")),
        )

    def differences(self, after: Count) -> list[str]:
        """Sentences about what came or went; empty when all is as before."""
        found = []
        for name in ("processes", "mounts", "outer_mounts", "cgroups", "namespaces", "links", "devices"):
            before, now = getattr(self, name), getattr(after, name)
            found += [f"{name}: left behind: {what}" for what in sorted(now - before)]
            if name not in ("processes", "namespaces"):
                found += [f"{name}: gone: {what}" for what in sorted(before - now)]
        if after.descriptors > self.descriptors:
            found.append(f"descriptors of the session: {self.descriptors} before, {after.descriptors} after")
        return found


def settle(before: Count, scratch: str, seconds: float = 5.0) -> list[str]:
    """Differences that stay: the kernel takes a moment to end processes and empty cgroups."""
    deadline = time.monotonic() + seconds
    while True:
        found = before.differences(Count.now(scratch))
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def _mounts(path: str) -> list[str]:
    lines = []
    with open(path) as stream:
        for line in stream:
            left, _, right = line.rstrip("\n").partition(" - ")
            lines.append(" ".join([*left.split()[3:6], right]))
    return lines


def _devices() -> list[str]:
    """Owner and mode of the nodes that everybody has open: whoever is given one may change them for all."""
    found = []
    for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx"):
        info = os.stat(f"/dev/{name}")
        found.append(f"/dev/{name} of {info.st_uid}:{info.st_gid}, mode {info.st_mode:o}")
    return found


def _cgroups() -> list[str]:
    """Directories of our cgroup trees, less the parent `/atoll` while it is empty: it is made once and stays."""
    found = []
    for _, mount in cgroup_mounts():
        for folder, folders, _ in os.walk(mount):
            if os.path.relpath(folder, mount).split("/")[0] in FOREIGN:
                continue
            if folder != mount and (folder != os.path.join(mount, "atoll") or folders):
                found.append(folder)
    return found


def stray_files(data: str, run_root: str) -> list[str]:
    """Files that should not be in the two roots once every container is removed."""
    found = []
    for place in (os.path.join(data, "containers"), os.path.join(run_root, "containers")):
        if os.path.isdir(place):
            found += [os.path.join(place, name) for name in os.listdir(place)]
    for folder, folders, files in os.walk(data):
        if os.path.basename(folder) == "tmp":
            found += [os.path.join(folder, name) for name in [*files, *folders]]
        found += [os.path.join(folder, name) for name in files if name.endswith(".tmp")]
        folders[:] = [name for name in folders if name not in ("layers", "volumes")]
    return found
