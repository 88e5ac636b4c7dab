"""What cgroup hierarchies this host has, where they are mounted, and where this process stands in them.

Holds: `detect`, `Hierarchy`, `Mount`, the parsers of mountinfo and of /proc/<pid>/cgroup, `delegated`.
Does not hold: any change to them.
Sources: cgroups(7), proc_pid_mountinfo(5), the kernel's admin-guide/cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

import os

from atoll.base import files
from atoll.base.value import Value

# v1 mount options that are not controllers.
_OPTIONS = frozenset(
    "rw ro none all clone_children xattr noprefix cpuset_v2_mode favordynmods nofavordynmods "
    "nsdelegate memory_localevents memory_recursiveprot".split()
)
V1, HYBRID, V2, NONE = "v1", "hybrid", "v2", "none"


class Mount(Value):
    """One mounted hierarchy. `controllers` are those of v1 (`name=systemd` for a named one), of the unified tree
    those it offers at its top; `own` is this process's cgroup below the mount point, "" for the top and None
    where it lies outside of what is mounted."""

    controllers: tuple[str, ...]
    path: str
    own: str | None = ""


class Hierarchy(Value):
    """The host's cgroups: `v1` hierarchies, and the `unified` one (v2, alone or beside v1)."""

    v1: tuple[Mount, ...] = ()
    unified: Mount | None = None

    @property
    def kind(self) -> str:
        """v1, hybrid, v2 or none."""
        if self.v1:
            return HYBRID if self.unified else V1
        return V2 if self.unified else NONE

    def find(self, controller: str) -> Mount | None:
        """The v1 hierarchy with a controller, or None."""
        for mount in self.v1:
            if controller in mount.controllers:
                return mount
        return None


def detect(root: str = "") -> Hierarchy:
    """Read /proc/self/mountinfo and /proc/self/cgroup below `root` (a made-up tree in tests). Raises OSError."""
    mounts = parse_mountinfo(files.read_bytes(f"{root}/proc/self/mountinfo"))
    own = parse_own(files.read_bytes(f"{root}/proc/self/cgroup"))
    v1: dict[tuple[str, ...], Mount] = {}
    unified = None
    for top, place, controllers in mounts:
        path = root + place
        if controllers is None:
            # The first is the one to use: later mounts are other views of the same tree (a container's, a chroot's).
            if unified is None:
                offered = _words(f"{path}/cgroup.controllers")
                unified = Mount(controllers=offered, path=path, own=_below(own.get((), "/"), top))
        elif controllers not in v1:
            v1[controllers] = Mount(controllers=controllers, path=path, own=_below(own.get(controllers, "/"), top))
    return Hierarchy(v1=tuple(v1.values()), unified=unified)


def parse_mountinfo(content: bytes) -> list[tuple[str, str, tuple[str, ...] | None]]:
    """(root within the hierarchy, mount point, sorted controllers; None for v2) of each cgroup mount.

    Lines of another shape are passed over: the file also names mounts of others, whose text is theirs to choose
    but cannot hold a space or newline unescaped.
    """
    found: list[tuple[str, str, tuple[str, ...] | None]] = []
    for line in content.split(b"\n"):
        if b" - cgroup" not in line:
            continue
        left, _, right = line.partition(b" - ")
        fields, tail = left.split(b" "), right.split(b" ")
        if len(fields) < 6 or len(tail) < 3:
            continue
        top, place = os.fsdecode(_unescape(fields[3])), os.fsdecode(_unescape(fields[4]))
        if tail[0] == b"cgroup2":
            found.append((top, place, None))
        elif tail[0] == b"cgroup":
            options = os.fsdecode(tail[2]).split(",")
            controllers = sorted(o for o in options if o and o not in _OPTIONS and not o.startswith("release_agent="))
            if controllers:
                found.append((top, place, tuple(controllers)))
    return found


def parse_own(content: bytes) -> dict[tuple[str, ...], str]:
    """Sorted controllers (empty for v2) → path, from /proc/<pid>/cgroup. A path may hold any byte but newline."""
    found = {}
    for line in content.split(b"\n"):
        fields = line.split(b":", 2)
        if len(fields) == 3 and fields[2].startswith(b"/"):
            controllers = os.fsdecode(fields[1]).split(",") if fields[1] else []
            found[tuple(sorted(controllers))] = os.fsdecode(fields[2].removesuffix(b" (deleted)"))
    return found


def own_directory(pid: int, mount: Mount) -> str | None:
    """The directory of process `pid` in a hierarchy; None if it is not to be seen there. Raises OSError."""
    own = parse_own(files.read_bytes(f"/proc/{pid}/cgroup"))
    wanted: tuple[str, ...] | None = None
    for controllers in own:
        if controllers == (() if _is_unified(mount) else mount.controllers):
            wanted = controllers
    if wanted is None:
        return None
    # What is mounted may be a part of the tree; our own place tells where that part begins.
    mine = parse_own(files.read_bytes("/proc/self/cgroup")).get(wanted)
    if mine is None or mount.own is None:
        return None
    top = mine.removesuffix("/" + mount.own) if mount.own else mine
    below = _below(own[wanted], top or "/")
    return None if below is None else join(mount.path, below)


def delegated(hierarchy: Hierarchy, parent: str | None = None) -> frozenset[str]:
    """The controllers an ordinary user may use below `parent` (a path from the top of each hierarchy) or below
    its own cgroup: those whose directory it may write. "unified" stands for the v2 tree itself."""
    from atoll.runtime.cgroups.paths import base_directory

    usable: set[str] = set()
    for mount in hierarchy.v1:
        place = base_directory(mount, parent)
        if place is not None and os.access(place, os.W_OK | os.X_OK):
            usable.update(mount.controllers)
    if hierarchy.unified is not None:
        place = base_directory(hierarchy.unified, parent, unified=True)
        if place is not None and os.access(place, os.W_OK | os.X_OK):
            usable.add("unified")
            usable.update(_words(f"{place}/cgroup.controllers"))
    return frozenset(usable)


def join(mount_point: str, below: str) -> str:
    """A directory of a hierarchy from a path below its mount point."""
    return f"{mount_point}/{below}" if below else mount_point


def _is_unified(mount: Mount) -> bool:
    return os.path.exists(f"{mount.path}/cgroup.controllers")


def _below(path: str, top: str) -> str | None:
    """`path` as seen from a mount whose root is `top`; None if it lies outside (a cgroup namespace shows such
    paths with `/..` in front)."""
    if ".." in path.split("/"):
        return None
    top = top.rstrip("/")
    if ".." in top.split("/"):
        return None
    if path == top or path.startswith(top + "/"):
        return path[len(top) :].strip("/")
    return None


def _unescape(raw: bytes) -> bytes:
    r"""Undo the octal escapes of mountinfo: \040 space, \011 tab, \012 newline, \134 backslash."""
    if b"\\" not in raw:
        return raw
    parts = raw.split(b"\\")
    out = [parts[0]]
    for part in parts[1:]:
        digits = part[:3]
        if len(digits) == 3 and all(48 <= d <= 55 for d in digits) and int(digits, 8) < 256:
            out.append(bytes((int(digits, 8),)) + part[3:])
        else:
            out.append(b"\\" + part)
    return b"".join(out)


def _words(path: str) -> tuple[str, ...]:
    try:
        return tuple(files.read_bytes(path).decode("ascii", "replace").split())
    except OSError:
        return ()
