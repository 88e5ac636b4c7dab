"""A cgroup with all below it: its processes, freezing, killing, removing; handing v2 controllers down.

Holds: the walks and the bounded waits. Does not hold: which hierarchies a container has (`cgroup.py`).
Sources: cgroups(7), the kernel's admin-guide/cgroup-v1/freezer-subsystem and admin-guide/cgroup-v2.
"""

from __future__ import annotations

import errno
import os
import time

from atoll.base import errors
from atoll.runtime.cgroups.settings import read, write

SIGKILL = 9
# Of v2's controllers those that this room can limit or count; others only cost something when handed down.
KNOWN = frozenset(("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"))
_DEPTH = 256  # deeper than any tree the kernel's own cgroup.max.depth of a sane host allows


def children(directory: str) -> list[str]:
    """The cgroups directly below; none if the directory is gone. Raises OSError otherwise."""
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def walk(directory: str) -> list[str]:
    """A cgroup and all below it, parents first; those that vanish meanwhile are left out. Raises OSError."""
    found = [directory]
    for place in found:  # grows while it is walked
        if place.count("/") - directory.count("/") < _DEPTH:
            found.extend(children(place))
    return found


def pids(directory: str) -> list[int]:
    """The processes of a cgroup and of those below it, ascending; none if it is gone. Raises OSError."""
    found: set[int] = set()
    for place in walk(directory):
        try:
            words = read(f"{place}/cgroup.procs").split()
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.EOPNOTSUPP):  # removed meanwhile; threaded: listed above
                raise
            continue
        found.update(int(word) for word in words if word != "0")  # 0: out of sight of this pid namespace
    return sorted(found)


# --- freezing ---------------------------------------------------------------------------------------------------


def freeze(directory: str, *, unified: bool, timeout: float = 10.0) -> None:
    """Stop every process of the tree and wait until all stand still; thawed again if they do not in `timeout`
    seconds. Raises Timeout, OSError."""
    deadline = time.monotonic() + timeout
    pause = 0.001
    while True:
        # v1 can stick half-way (FREEZING) when a task is added meanwhile: writing again starts over.
        write(f"{directory}/{'cgroup.freeze' if unified else 'freezer.state'}", "1" if unified else "FROZEN")
        if frozen(directory, unified=unified):
            return
        if time.monotonic() > deadline:
            thaw(directory, unified=unified)
            raise errors.Timeout(
                f"processes of {directory} did not stop within {timeout:g} seconds",
                hint="one may hang in the kernel (state D in ps); it runs on",
            )
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def thaw(directory: str, *, unified: bool) -> None:
    """Let the processes of the tree run again. Raises OSError."""
    write(f"{directory}/{'cgroup.freeze' if unified else 'freezer.state'}", "0" if unified else "THAWED")


def frozen(directory: str, *, unified: bool) -> bool:
    """Whether every process of the tree stands still; False if the cgroup is gone. Raises OSError."""
    try:
        if unified:
            return "frozen 1" in read(f"{directory}/cgroup.events").split("\n")
        return read(f"{directory}/freezer.state") == "FROZEN"
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return False
        raise


# --- killing ----------------------------------------------------------------------------------------------------


def kill_at_once(directory: str) -> bool:
    """cgroup.kill (Linux 5.14): the kernel kills the whole tree, forks under way included. False where the kernel
    does not have it; a tree that is gone counts as killed. Raises OSError."""
    try:
        write(f"{directory}/cgroup.kill", "1")
    except FileNotFoundError:
        return not os.path.isdir(directory)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
    return True


def kill_one_by_one(directory: str, freezer: str | None, *, unified: bool, timeout: float = 30.0) -> None:
    """Without cgroup.kill: freeze (so that nothing forks away), signal all, thaw; until nothing is left.

    `freezer` is the directory to freeze, None for none: then it is a race that only a finite supply of pids lets
    us win. Raises Timeout, OSError.
    """
    deadline = time.monotonic() + timeout
    while True:
        stopped = _freeze_for_kill(freezer, unified=unified, until=deadline)
        left = pids(directory)
        for pid in left:
            try:
                os.kill(pid, SIGKILL)
            except ProcessLookupError:
                continue
        if stopped and freezer is not None:
            thaw(freezer, unified=unified)  # v1: a frozen process dies only when thawed
        if not left:
            return
        if time.monotonic() > deadline:
            raise errors.Timeout(
                f"{len(left)} processes of {directory} outlived SIGKILL for {timeout:g} seconds",
                hint="one may hang in the kernel (state D in ps)",
            )
        time.sleep(0.002)


def _freeze_for_kill(freezer: str | None, *, unified: bool, until: float) -> bool:
    if freezer is None:
        return False
    try:
        freeze(freezer, unified=unified, timeout=max(0.0, min(1.0, until - time.monotonic())))
    except errors.Timeout:
        return False
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return False
        raise
    return True


# --- removing ---------------------------------------------------------------------------------------------------


def remove(directory: str, *, timeout: float = 5.0) -> None:
    """Remove a cgroup and all below it, deepest first; absent is fine. A dying process holds its cgroup for a
    moment, so EBUSY is tried again for `timeout` seconds. Raises FailedPrecondition if it still lives, OSError."""
    deadline = time.monotonic() + timeout
    pause = 0.0005
    while True:
        try:
            os.rmdir(directory)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
        if not _remove_below(directory) and time.monotonic() > deadline:
            alive = pids(directory)
            what = f"processes {', '.join(map(str, alive[:10]))} are" if alive else "something of it is still"
            raise errors.FailedPrecondition(
                f"cannot remove cgroup {directory}: {what} in use", hint="kill the container first"
            )
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _remove_below(directory: str) -> bool:
    """Remove the cgroups below. Whether any went."""
    progress = False
    for place in reversed(walk(directory)[1:]):
        try:
            os.rmdir(place)
            progress = True
        except FileNotFoundError:
            progress = True
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
    return progress


# --- v2: handing controllers down -----------------------------------------------------------------------------


def enable(top: str, directory: str, wanted: frozenset[str]) -> frozenset[str]:
    """Hand the wanted controllers down from `top` to `directory` (exclusive of its own children). Returns those that
    `directory` has in the end; what an ancestor does not offer, or refuses, is left out. Raises OSError.

    A cgroup with processes cannot hand controllers on ("no internal processes", cgroups(7)), except the root of the
    whole tree.
    """
    have = available(directory)
    if wanted <= have:
        return have
    parts = directory[len(top) :].strip("/").split("/")
    place = top
    for part in parts:
        _hand_on(place, wanted)
        place = f"{place}/{part}"
    return available(directory)


def _hand_on(place: str, wanted: frozenset[str]) -> None:
    lacking = (wanted & available(place)) - frozenset(_words(f"{place}/cgroup.subtree_control"))
    if not lacking or _keeps_processes(place):
        return
    file = f"{place}/cgroup.subtree_control"
    try:
        write(file, " ".join(f"+{name}" for name in sorted(lacking)))
        return
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            raise
    for name in sorted(lacking):  # one refused controller refuses all of a write
        try:
            write(file, f"+{name}")
        except OSError:
            continue


def _keeps_processes(place: str) -> bool:
    """Whether a cgroup other than the root of the tree (which lacks cgroup.type) holds processes. The kernel refuses
    it most controllers, but would take the threaded ones (cpu, pids) and so make a threaded domain of it, below
    which no whole process can be put (cgroups(7), "Thread mode")."""
    return os.path.exists(f"{place}/cgroup.type") and bool(read(f"{place}/cgroup.procs"))


def available(place: str) -> frozenset[str]:
    """The controllers a v2 cgroup has. Raises OSError."""
    return frozenset(_words(f"{place}/cgroup.controllers"))


def blocked_by_processes(top: str, directory: str, controller: str) -> str | None:
    """The ancestor that has a controller but cannot hand it on because processes live in it, or None."""
    place = directory
    while len(place) > len(top):
        place = place[: place.rindex("/")]
        if controller in available(place):
            return place if read(f"{place}/cgroup.procs") else None
    return None


def _words(path: str) -> list[str]:
    return read(path).split()
