"""A private corner of this machine: own mounts, own network, own cgroup subtree, own /etc/passwd.

`Sandbox.enter()` moves the calling process (the test session or the benchmark) there; everything it starts
inherits it. Nothing of it is visible outside but one cgroup per hierarchy and one empty directory, both named
`atoll-test-<pid>` and removed by `leave()`; those of a dead session are swept at the next start.

    host                                     inside
    /sys/fs/cgroup/memory/atoll-test-7/  →   /sys/fs/cgroup/memory/          (cgroup namespace, mounted anew)
    (no such user)                       →   /etc/passwd: atoll-single, atoll-full  (copies bound over)
    network with routes                  →   loopback only
    /tmp/atoll-test-7 (empty)            →   a tmpfs for every root, store and home of the session
    /dev/shm                             →   another one
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kit import system

PREFIX = "atoll-test-"
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Which of the sessions that run side by side this is: each has ids of its own, which the kernel counts by."""
FIRST_UID = 61500 + 10 * WORKER
FIRST_SUBID = 200000 + 65536 * WORKER
MEMORY_LIMIT = 14 << 30
"""More than any test gives a part of it (`test_density.py`): a crowd that grows too large is not to end pytest."""
PIDS_LIMIT = 6000


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup hierarchy: `name` is its v1 option list, or "" for v2."""

    name: str
    path: str
    outside: int  # a descriptor of the host's directory, kept for the way back


@dataclass(frozen=True)
class User:
    """An ordinary user of the sandbox."""

    name: str
    uid: int
    gid: int
    home: str
    runtime_dir: str


@dataclass
class Sandbox:
    """The corner itself; one per process."""

    name: str = field(default_factory=lambda: f"{PREFIX}{os.getpid()}")
    hierarchies: list[Hierarchy] = field(default_factory=list)
    scratch: str = ""
    users: dict[str, User] = field(default_factory=dict)
    _outside_net: int = -1
    _outside_mount: int = -1
    _outside_cgroup: int = -1
    _came_from: dict[str, str] = field(default_factory=dict)

    def enter(self, *, network: bool = True, subreaper: bool = True) -> Sandbox:
        """Move this process into the corner. Raises OSError where the machine does not allow it."""
        sweep_stale()
        if subreaper:
            system.become_subreaper()
        self._outside_net = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._outside_mount = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._outside_cgroup = os.open("/proc/self/ns/cgroup", os.O_RDONLY | os.O_CLOEXEC)
        self.hierarchies = [
            Hierarchy(name, path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            for name, path in cgroup_mounts()
        ]
        self._join_cgroups()
        # The cgroup namespace takes the cgroups of this moment as its root, so it comes after joining them.
        flags = system.CLONE_NEWNS | system.CLONE_NEWCGROUP | (system.CLONE_NEWNET if network else 0)
        system.unshare(flags)
        system.mount("none", "/", flags=system.MS_REC | system.MS_PRIVATE)
        for hierarchy in self.hierarchies:
            self._mount_cgroup(hierarchy)
        if network:
            loopback_up()
        # Engines keep there what is of all their stores, and leave it: podman's locks.
        system.mount("tmpfs", "/dev/shm", "tmpfs", system.MS_NOSUID | system.MS_NODEV, "mode=1777")
        self._make_scratch()
        self._make_users()
        return self

    def leave(self) -> None:
        """Undo `enter`: back to the host's cgroups and mounts; remove what was visible there."""
        # First: where systemd mounted it (nsdelegate), nobody moves himself out of his cgroup namespace's root.
        system.setns(self._outside_cgroup, system.CLONE_NEWCGROUP)
        for hierarchy in self.hierarchies:
            home = self._came_from.get(hierarchy.name, "/").lstrip("/")
            write_at(hierarchy.outside, os.path.join(home, "cgroup.procs"), "0")
        system.umount(self.scratch)
        os.chdir("/")
        # setns(2) refuses another mount namespace to a process that shares its directories with another: here a
        # thread of some test's server, which may stay behind.
        system.unshare(system.CLONE_FS)
        system.setns(self._outside_mount, system.CLONE_NEWNS)
        system.setns(self._outside_net, system.CLONE_NEWNET)
        os.rmdir(self.scratch)
        for hierarchy in self.hierarchies:
            remove_cgroups(os.path.join(hierarchy.path, self.name))
            os.close(hierarchy.outside)
        os.close(self._outside_net)
        os.close(self._outside_mount)
        os.close(self._outside_cgroup)

    def run_outside(self, command: Sequence[str], **how: object) -> subprocess.CompletedProcess[str]:
        """Run with the host's network (to fetch packages), but with the corner's mounts."""
        net = self._outside_net

        def host_network() -> None:
            if net >= 0:
                system.setns(net, system.CLONE_NEWNET)

        return subprocess.run(command, preexec_fn=host_network, text=True, **how)  # type: ignore[call-overload]

    def delegate(self, user: User, name: str) -> Callable[[], None]:
        """Give the user a cgroup subtree `name` in every hierarchy; returns what moves the caller there.

        The returned function is for a child before it gives up root (v2 asks for rights on the common ancestor).
        """
        procs = []
        for hierarchy in self.hierarchies:
            path = os.path.join(hierarchy.path, name)
            os.makedirs(path, exist_ok=True)
            if "cpuset" in hierarchy.name.split(","):
                inherit_cpuset(path)
            if not hierarchy.name:
                enable_controllers(hierarchy.path)
            for file in ("", "cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"):
                if os.path.exists(os.path.join(path, file)):
                    os.chown(os.path.join(path, file), user.uid, user.gid)
            if not hierarchy.name:
                # A v2 group with controllers enabled below it cannot itself hold processes.
                path = os.path.join(path, "session")
                os.makedirs(path, exist_ok=True)
                for file in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
                    os.chown(os.path.join(path, file), user.uid, user.gid)
            procs.append(os.path.join(path, "cgroup.procs"))

        def join() -> None:
            for path in procs:
                write(path, "0")

        return join

    def undelegate(self, name: str) -> None:
        """Remove what `delegate` made; nothing may live in it."""
        for hierarchy in self.hierarchies:
            remove_cgroups(os.path.join(hierarchy.path, name))

    def _join_cgroups(self) -> None:
        self._came_from = own_cgroups()
        for hierarchy in self.hierarchies:
            path = os.path.join(hierarchy.path, self.name)
            os.makedirs(path, exist_ok=True)
            controllers = hierarchy.name.split(",")
            if "cpuset" in controllers:
                inherit_cpuset(path)
            if "memory" in controllers:
                write(os.path.join(path, "memory.limit_in_bytes"), str(MEMORY_LIMIT))
            if "pids" in controllers:
                write(os.path.join(path, "pids.max"), str(PIDS_LIMIT))
            if not hierarchy.name:
                enable_controllers(hierarchy.path)
                for file, value in (("memory.max", str(MEMORY_LIMIT)), ("pids.max", str(PIDS_LIMIT))):
                    if os.path.exists(os.path.join(path, file)):
                        write(os.path.join(path, file), value)
            write(os.path.join(path, "cgroup.procs"), "0")

    def _mount_cgroup(self, hierarchy: Hierarchy) -> None:
        system.umount(hierarchy.path)
        if hierarchy.name:
            system.mount("cgroup", hierarchy.path, "cgroup", 0, hierarchy.name)
            return
        system.mount("cgroup2", hierarchy.path, "cgroup2")
        leaf = os.path.join(hierarchy.path, "session")
        os.makedirs(leaf, exist_ok=True)
        write(os.path.join(leaf, "cgroup.procs"), "0")
        enable_controllers(hierarchy.path)

    def _make_scratch(self) -> None:
        self.scratch = os.path.join("/tmp", self.name)
        os.makedirs(self.scratch, exist_ok=True)
        system.mount("tmpfs", self.scratch, "tmpfs", 0, "mode=0755")

    def _make_users(self) -> None:
        accounts = os.path.join(self.scratch, "etc")
        os.mkdir(accounts)
        for offset, name in enumerate(("atoll-single", "atoll-full")):
            uid = FIRST_UID + offset
            home = os.path.join(self.scratch, "home", name)
            runtime = os.path.join(self.scratch, "user", str(uid))
            for path in (home, runtime):
                os.makedirs(path)
                os.chown(path, uid, uid)
                os.chmod(path, 0o700)
            self.users[name] = User(name, uid, uid, home, runtime)
        lines = {
            "passwd": [f"{u.name}:x:{u.uid}:{u.gid}::{u.home}:/bin/sh" for u in self.users.values()],
            "group": [f"{u.name}:x:{u.gid}:" for u in self.users.values()],
            "subuid": [f"atoll-full:{FIRST_SUBID}:65536"],
            "subgid": [f"atoll-full:{FIRST_SUBID}:65536"],
        }
        for file, added in lines.items():
            original, copy = os.path.join("/etc", file), os.path.join(accounts, file)
            if not os.path.exists(original):
                continue
            shutil.copy(original, copy)
            os.chmod(copy, 0o644)
            with open(copy, "a") as stream:
                stream.write("\n".join(added) + "\n")
            system.mount(copy, original, flags=system.MS_BIND)


def write(path: str, value: str) -> None:
    """Write a kernel file in one call. Raises OSError naming it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def write_at(directory: int, name: str, value: str) -> None:
    """`write` relative to a directory's descriptor."""
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def cgroup_mounts() -> list[tuple[str, str]]:
    """(option list or "" for v2, mount point) of every mounted cgroup hierarchy, from /proc/self/mountinfo."""
    found = []
    with open("/proc/self/mountinfo") as stream:
        for line in stream:
            left, _, right = line.partition(" - ")
            kind, _source, options = right.split()[:3]
            if kind == "cgroup2":
                found.append(("", left.split()[4]))
            elif kind == "cgroup":
                name = ",".join(o for o in options.split(",") if o not in ("rw", "ro", "xattr", "clone_children"))
                found.append((name, left.split()[4]))
    return found


def own_cgroups() -> dict[str, str]:
    """Hierarchy name ("" for v2) → this process' path in it, from /proc/self/cgroup."""
    with open("/proc/self/cgroup") as stream:
        return {line.split(":", 2)[1]: line.rstrip("\n").split(":", 2)[2] for line in stream}


def inherit_cpuset(path: str) -> None:
    """A v1 cpuset starts empty and takes no process until it has cpus and mems."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        with open(os.path.join(os.path.dirname(path), file)) as stream:
            write(os.path.join(path, file), stream.read().strip())


def enable_controllers(path: str) -> None:
    """v2: hand every controller down; those that cannot be are left."""
    with open(os.path.join(path, "cgroup.controllers")) as stream:
        for controller in stream.read().split():
            try:
                write(os.path.join(path, "cgroup.subtree_control"), f"+{controller}")
            except OSError:
                continue


def remove_cgroups(path: str) -> None:
    """Remove a cgroup and those below it, waiting a little for the last process to be gone."""
    deadline = time.monotonic() + 5
    for folder, _, _ in os.walk(path, topdown=False):
        while True:
            try:
                os.rmdir(folder)
                break
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def sweep_stale() -> None:
    """Remove cgroups and directories of sessions whose process is gone."""
    places = [path for _, path in cgroup_mounts()] + ["/tmp"]
    for place in places:
        for entry in os.listdir(place):
            pid = entry.removeprefix(PREFIX)
            if entry.startswith(PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                if holds_processes(f"{place}/{entry}"):
                    continue  # a session in another pid namespace, alive
                try:
                    os.rmdir(f"{place}/{entry}") if place == "/tmp" else remove_cgroups(f"{place}/{entry}")
                except OSError:
                    continue


def holds_processes(path: str) -> bool:
    """Whether a cgroup or one below it has a process."""
    for folder, _, files in os.walk(path):
        if "cgroup.procs" in files:
            with open(os.path.join(folder, "cgroup.procs")) as stream:
                if stream.read():
                    return True
    return False


def loopback_up() -> None:
    """Set lo's IFF_UP in this network namespace (netdevice(7))."""
    siocgifflags, siocsifflags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = fcntl.ioctl(handle, siocgifflags, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack("16sh22x", request)[1] | up
        fcntl.ioctl(handle, siocsifflags, struct.pack("16sh22x", b"lo", flags))
