"""Control groups as a comparison meets them: a tree of both versions, and groups of its own to be removed.

Holds: `leave_unified`, `remove_groups`.
"""

from __future__ import annotations

import os

from atoll.linux import mount, process


def mounts() -> list[tuple[str, str]]:
    """(file system, mount point) of every mounted hierarchy."""
    found = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            kind = right.split()[0]
            if kind in ("cgroup", "cgroup2"):
                found.append((kind, left.split()[4]))
    return found


def leave_unified() -> None:
    """crun refuses a tree of both versions: in a mount namespace of this process's own the second is taken away. For
    the fork that becomes it. Where there is one version only, nothing is done."""
    known = mounts()
    if {kind for kind, _ in known} != {"cgroup", "cgroup2"}:
        return
    process.unshare(process.CLONE_NEWNS)
    mount.set_propagation("/", mount.MS_REC | mount.MS_PRIVATE)
    for kind, path in known:
        if kind == "cgroup2":
            mount.umount2(path, mount.MNT_DETACH)


def remove_groups(name: str) -> None:
    """Remove the groups of this name at the top of each hierarchy with all below; nothing lives in them any more."""
    for _, top in mounts():
        for folder, _, _ in os.walk(f"{top}/{name}", topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                continue
