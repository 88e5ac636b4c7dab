"""Control groups as a comparison meets them: a tree of both versions, and groups of its own to be removed.

Holds: `leave_unified`, `bounded_group`, `remove_groups`.
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
    if os.geteuid() != 0 or {kind for kind, _ in known} != {"cgroup", "cgroup2"}:
        return
    process.unshare(process.CLONE_NEWNS)
    mount.set_propagation("/", mount.MS_REC | mount.MS_PRIVATE)
    for kind, path in known:
        if kind == "cgroup2":
            mount.umount2(path, mount.MNT_DETACH)


def bounded_group(name: str, memory: int, processes: int) -> tuple[str, ...]:
    """A group at the top of each hierarchy that can limit memory or processes, with these limits; the files through
    which a process joins. A limit that cannot be had here is left out: the program is bounded by itself, too."""
    joins = []
    for kind, top in mounts():
        files = {"memory.limit_in_bytes": memory, "memory.max": memory, "pids.max": processes}
        place = f"{top}/{name}"
        if kind == "cgroup" and os.path.basename(top) not in ("memory", "pids"):
            continue
        try:
            os.mkdir(place, 0o755)
        except OSError:
            continue
        for file, value in files.items():
            if os.path.exists(f"{place}/{file}"):
                _write(f"{place}/{file}", str(value))
        joins.append(f"{place}/cgroup.procs")
    return tuple(joins)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def remove_groups(name: str) -> None:
    """Remove the groups of this name at the top of each hierarchy with all below; nothing lives in them any more."""
    for _, top in mounts():
        for folder, _, _ in os.walk(f"{top}/{name}", topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                continue
