"""Making a container's directories, and undoing it: mkdir with ancestors, v1's cpusets, device rules.

Holds: `make`, `fill_cpuset`, `limit_devices_v1`, `limit_devices_v2`, `keep_devices_v2`, `explain_join`. Does not
hold: the order (`cgroup.py`).
"""

from __future__ import annotations

import errno
import os

from atoll.base import errors
from atoll.runtime.cgroups import devices, settings, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.base.rollback import Rollback
    from atoll.runtime.cgroups.detect import Mount
    from atoll.runtime.cgroups.devices import Rule

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_ATTEMPTS = 10
_kept: dict[tuple[Rule, ...], int] = {}
"""Descriptors of programs by their rules (`keep_devices_v2`)."""


def make(place: str, mount: Mount, undo: Rollback, *, skip_refused: bool, holder: int = 0) -> bool:
    """Make a directory and the ancestors it lacks; one that is there may hold the process `holder`. False if refused
    and that is to be passed over."""
    for attempt in range(_ATTEMPTS):
        try:
            if attempt:
                _make_ancestors(place, mount, undo)
            os.mkdir(place, 0o755)
            undo.push(_unmake, place)
            return True
        except FileExistsError:
            _take_over(place, holder)
            return True
        except OSError as error:
            # An ancestor is not there yet, or was just undone by someone whose container failed.
            if error.errno in (errno.ENOENT, errno.ENODEV) and attempt < _ATTEMPTS - 1:
                continue
            if skip_refused and error.errno in (*REFUSED, errno.ENOENT):
                return False
            raise _explain_mkdir(error, place) from error
    return False


def _make_ancestors(place: str, mount: Mount, undo: Rollback) -> None:
    at = mount.path
    for part in place[len(mount.path) :].strip("/").split("/")[:-1]:
        at = f"{at}/{part}"
        try:
            os.mkdir(at, 0o755)
        except FileExistsError:
            continue
        undo.push(_unmake, at)
        if "cpuset" in mount.controllers:
            fill_cpuset(at, mount.path)
            # Children then copy the parent's set at mkdir, which spares each container the writes.
            settings.write(f"{at}/cgroup.clone_children", "1")


def _unmake(place: str) -> None:
    """Undo a mkdir. Another container may have come to live in an ancestor meanwhile; it keeps it."""
    try:
        os.rmdir(place)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY, errno.ENOENT):
            raise


def _take_over(place: str, holder: int) -> None:
    alive = [pid for pid in tree.pids(place) if pid != holder]
    if alive:
        raise errors.Conflict(
            f"cgroup {place} exists and holds {len(alive)} processes, such as {alive[0]}",
            hint="choose another cgroupsPath, or remove the container it belongs to",
        )
    for unified, file in ((True, "cgroup.events"), (False, "freezer.state")):
        if os.path.exists(f"{place}/{file}") and tree.frozen(place, unified=unified):
            raise errors.Conflict(
                f"cgroup {place} exists and is frozen: nothing put there would run", hint="thaw or remove it"
            )


def fill_cpuset(place: str, top: str) -> None:
    """Give an empty v1 cpuset its parent's CPUs and memory nodes, from the top down. Raises OSError."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if settings.read(f"{place}/{file}"):
            continue
        parent = place[: place.rindex("/")]
        if len(parent) > len(top) and not settings.read(f"{parent}/{file}"):
            fill_cpuset(parent, top)
        settings.write(f"{place}/{file}", settings.read(f"{parent}/{file}"))


def limit_devices_v1(place: str, rules: tuple[Rule, ...]) -> None:
    """v1's device controller: the default for all, then each exception. Raises AtollError."""
    default, exceptions = devices.whitelist(rules)
    first, second = ("devices.allow", "devices.deny") if default else ("devices.deny", "devices.allow")
    text = "a"
    try:
        settings.write(f"{place}/{first}", text)
        fd = os.open(f"{place}/{second}", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for key, access in exceptions:
                text = devices.line(key, access)
                os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise errors.from_os_error(
            error,
            f"set linux.resources.devices ({text!r} in {place})",
            hint="the parent cgroup allows fewer devices" if error.errno == errno.EPERM else None,
        ) from error


def limit_devices_v2(place: str, rules: tuple[Rule, ...]) -> None:
    """v2: attach the rules as a BPF program, in place of one attached before. Raises AtollError."""
    from atoll.linux import bpf

    kept = _kept.get(rules, -1)
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A program is attached to one place once only (EINVAL).
        loaded = kept if kept >= 0 and not bpf.prog_query(fd) else _load(rules)
        try:
            bpf.replace_on_cgroup(loaded, fd)
        finally:
            if loaded != kept:
                os.close(loaded)
    except OSError as error:
        raise errors.from_os_error(
            error,
            "limit the devices (linux.resources.devices) by a BPF program",
            hint="it needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, and CONFIG_CGROUP_BPF in the kernel",
        ) from error
    finally:
        os.close(fd)


def keep_devices_v2(rules: tuple[Rule, ...]) -> None:
    """Load the program of these rules now, and use it whenever they are asked for again: for a process that is about
    to be saved, and to go on in many copies. Raises OSError."""
    if rules not in _kept:
        _kept[rules] = _load(rules)


def _load(rules: tuple[Rule, ...]) -> int:
    from atoll.linux import bpf
    from atoll.runtime.cgroups import devicebpf

    return bpf.prog_load(devicebpf.compile(rules))


def _explain_mkdir(error: OSError, place: str) -> errors.AtollError:
    what = f"make cgroup {place}"
    if error.errno == errno.EAGAIN:
        return errors.Exhausted(f"cannot {what}: a parent's cgroup.max.descendants or cgroup.max.depth is reached")
    if error.errno in (errno.ENOSPC, errno.ENOMEM):
        return errors.Exhausted(
            f"cannot {what}: the kernel has no more cgroups to give",
            hint="remove stopped containers; at most 65535 memory cgroups can live at once",
        )
    if error.errno in REFUSED:
        return errors.Denied(f"cannot {what}: {error.strerror}", hint="mount the cgroup file system writable")
    if error.errno == errno.EINVAL:
        return errors.InvalidArgument(f"cannot {what}: the kernel refuses that name")
    return errors.from_os_error(error, what)


def explain_join(error: OSError, place: str, line: str) -> errors.AtollError:
    """Why a process could not be moved into a cgroup."""
    what = f"cannot move process {line} into cgroup {place}"
    if error.errno == errno.ESRCH:
        return errors.NotFound(f"{what}: the process is gone")
    if error.errno in (errno.ENOENT, errno.ENODEV):
        return errors.NotFound(f"{what}: the cgroup is gone")
    if error.errno == errno.ENOSPC:
        return errors.FailedPrecondition(
            f"{what}: it has no CPUs or memory nodes", hint="set linux.resources.cpu.cpus and mems"
        )
    if error.errno == errno.EBUSY:
        return errors.FailedPrecondition(
            f"{what}: it hands controllers on to cgroups below it, so it cannot hold processes (cgroups(7))",
            hint="name one of those below",
        )
    if error.errno == errno.EOPNOTSUPP:
        return errors.FailedPrecondition(f"{what}: it is threaded, or below a threaded one (cgroups(7))")
    if error.errno == errno.EAGAIN:
        return errors.Exhausted(f"{what}: its limit of processes is reached")
    if error.errno == errno.EINVAL:
        return errors.InvalidArgument(f"{what}: a realtime process needs a realtime budget there")
    if error.errno in REFUSED:
        return errors.Denied(
            f"{what}: {error.strerror}",
            hint="an ordinary user may move processes only within a subtree that was delegated and that it is in",
        )
    return errors.from_os_error(error, what.removeprefix("cannot "))
