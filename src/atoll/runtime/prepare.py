"""What `create` finds out and opens before the clone, where an error still costs nothing.

Holds: the start fifo, the root and the sources of mounts, what the record keeps for later, the modules that the init
must find loaded. Does not hold: the order (`create.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.linux import process
from atoll.runtime import pin, state
from atoll.spec.rootfs import Bind, FuseOverlay, Overlay, RootPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.base.rollback import Rollback
    from atoll.runtime.cgroups.cgroup import Cgroup
    from atoll.runtime.cgroups.detect import Hierarchy
    from atoll.runtime.cgroups.systemd import Scope
    from atoll.runtime.plan import CgroupMount, Join
    from atoll.runtime.served import Lines
    from atoll.spec.rootfs import RootStep
    from atoll.spec.runtime import Linux, Mount, Process, Spec


def lines_to_servers(root: RootPlan, undo: Rollback) -> Lines | None:
    """How the init reaches those who show parts of its root (`served.py`); None where nobody does."""
    if not any(isinstance(step, FuseOverlay) for step in root.steps):
        return None
    from atoll.runtime import served

    lines = served.Lines(root)
    undo.push(lines.close)
    return lines


def launch_servers(lines: Lines, run: str, pid: int) -> None:
    """Start those who show parts of the root, in the user namespace of the init `pid` (0: in this one). That is
    opened while the init waits and is as it was cloned: once it is not dumpable, nobody may. Raises AtollError."""
    lines.leave()
    if not pid:
        lines.launch(run)
        return
    try:
        namespace = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.from_os_error(error, "open the container's user namespace") from error
    try:
        lines.launch(run, user_namespace=namespace)
    finally:
        os.close(namespace)


def load_for_init(spec: Spec) -> None:
    """Import what only some containers need: the init imports nothing."""
    if spec.hooks is not None:
        from atoll.runtime import hooks  # noqa: F401 - the init must find it loaded
    if spec.linux is not None and spec.linux.seccomp is not None:
        from atoll.runtime.seccomp import programs  # noqa: F401 - the init must find it loaded
    if any("tmpcopyup" in entry.options or "copyup" in entry.options for entry in spec.mounts):
        from atoll.runtime import copyup  # noqa: F401 - the init must find it loaded


def mapped_trees(spec: Spec, linux: Linux, bundle: str, undo: Rollback) -> tuple[tuple[int, int], ...]:
    """The detached trees of id-mapped mounts (`idmap.py`). Raises AtollError."""
    foreign = _trees_of_others(spec.mounts, undo)
    if not any(entry.uid_mappings or "idmap" in entry.options or "ridmap" in entry.options for entry in spec.mounts):
        return foreign
    from atoll.runtime import idmap

    return (*foreign, *idmap.prepare(spec.mounts, linux, bundle, undo))


def _trees_of_others(mounts: tuple[Mount, ...], undo: Rollback) -> tuple[tuple[int, int], ...]:
    """A bind whose source is `/proc/PID/root/…` lies in another mount namespace, from which only that one's own
    processes can clone it (open_tree(2), EINVAL)."""
    found = []
    for index, entry in enumerate(mounts):
        pid, _, path = (entry.source or "").removeprefix("/proc/").partition("/root/")
        if entry.type == "bind" and path and pid.isdecimal() and (entry.source or "").startswith("/proc/"):
            from atoll.runtime import detached

            fd = detached.tree_of_process(int(pid), "/" + path)
            undo.push(os.close, fd)
            found.append((index, fd))
    return tuple(found)


def needs_placement(proc: Process, linux: Linux | None) -> bool:
    """Whether `placement.py` is wanted, which is then loaded: the init imports nothing."""
    own = proc.scheduler or proc.io_priority
    if not own and not (linux is not None and (linux.memory_policy or linux.personality)):
        return False
    from atoll.runtime import placement  # noqa: F401 - the init must find it loaded

    return True


def make_fifo(run: str, undo: Rollback) -> int:
    path = f"{run}/{state.FIFO}"
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        raise errors.Conflict(f"there is a container in {run} already") from None
    except OSError as error:
        raise errors.from_os_error(error, "make the start fifo") from error
    undo.push(os.unlink, path)
    # The init opens it as the container's user, through a descriptor: the directory lets nobody else in.
    os.chmod(path, 0o622)
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    undo.push(os.close, fd)
    return fd


def root_of(spec: Spec, bundle: str) -> RootPlan:
    assert spec.root is not None
    path = os.path.join(bundle, spec.root.path)
    if not os.path.isdir(path):
        raise errors.NotFound(f"root.path: no directory {path}")
    return RootPlan(steps=(Bind(source=path, target="/"),))


def pinned(
    root: RootPlan, mounts: tuple[Mount, ...], bundle: str, held: list[int], undo: Rollback
) -> tuple[RootPlan, tuple[Mount, ...]]:
    """Sources opened by us, since the container's root is a stranger on this host."""
    undo.push(close_all, held)
    try:
        way = pin.Detached(held)
        return pin.pin_root(root, way), pin.pin_mounts(mounts, bundle, way)
    except OSError as error:
        raise errors.from_os_error(error, "open a mount's source") from error


def mapped_root(root: RootPlan, linux: Linux, run: str, held: list[int]) -> RootPlan:
    """The plan with every overlay that is to be id-mapped as a detached mount. Raises AtollError."""
    if not any(isinstance(step, Overlay) and step.mapped for step in root.steps):
        return root
    from atoll.runtime import detached

    steps: list[RootStep] = []
    for step in root.steps:
        if isinstance(step, Overlay) and step.mapped:
            held.append(detached.mapped_overlay(step, linux, run))
            step = Bind(source=f"{pin.PINNED}{held[-1]}", target=step.target, read_only=step.upper is None)
        steps.append(step)
    return RootPlan(steps=tuple(steps))


def is_stranger(linux: Linux) -> bool:
    """Whether the container's root is not the caller, who then opens what it may not reach."""
    own = os.geteuid()
    return not any(m.container_id == 0 and m.host_id == own for m in linux.uid_mappings)


def close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()


def later_hooks(spec: Spec) -> Any:
    """Those that `start` and `delete` run, for the record."""
    if spec.hooks is None or not (spec.hooks.poststart or spec.hooks.poststop):
        return None
    from atoll.spec.codec import dump

    return {
        "poststart": [dump(hook) for hook in spec.hooks.poststart],
        "poststop": [dump(hook) for hook in spec.hooks.poststop],
    }


def listener_of(linux: Linux) -> Any:
    """Where exec sends its own notify descriptors."""
    if linux.seccomp is None or linux.seccomp.listener_path is None:
        return None
    return [linux.seccomp.listener_path, linux.seccomp.listener_metadata or ""]


def cgroup_mounts_of(
    spec: Spec, hierarchy: Hierarchy, cgroup: Cgroup, flags: int, joins: tuple[Join, ...]
) -> tuple[CgroupMount, ...]:
    if not any(entry.type == "cgroup" for entry in spec.mounts):
        return ()
    from atoll.runtime import cgroup_mounts

    own = bool(flags & process.CLONE_NEWCGROUP) or any(join.flag == process.CLONE_NEWCGROUP for join in joins)
    return cgroup_mounts.plan(hierarchy, cgroup, namespace=own)


def hand_over(cgroup: Cgroup, spec: Spec, hierarchy: Hierarchy, flags: int) -> None:
    """Give a cgroup that may be written inside to the container's user. Raises AtollError."""
    if hierarchy.v1 or not any(entry.type == "cgroup" for entry in spec.mounts):
        return
    from atoll.runtime import cgroup_mounts

    uid = cgroup_mounts.owner(spec, hierarchy, namespace=bool(flags & process.CLONE_NEWCGROUP))
    if uid is not None:
        try:
            cgroup.give(uid, -1)
        except OSError as error:
            raise errors.from_os_error(error, f"give the container's cgroup to user {uid}") from error


def scope_of(spec: Spec, container_id: str, *, user: bool) -> Scope:
    """The scope that systemd is to make for the container. Raises AtollError."""
    from atoll.runtime.cgroups import systemd, units

    assert spec.linux is not None
    units.from_annotations(spec.annotations)
    return systemd.scope_of(spec.linux.cgroups_path, container_id, user=user)


def start_scope(scope: Scope, pid: int, container_id: str, spec: Spec, hierarchy: Hierarchy, undo: Rollback) -> None:
    """Have systemd make it with the process in it. Raises AtollError."""
    from atoll.runtime.cgroups import systemd
    from atoll.spec.runtime import Resources

    assert spec.linux is not None
    undo.push(systemd.stop, scope)
    resources = spec.linux.resources or Resources()
    systemd.start(scope, pid, container_id, resources, spec.annotations, unified=not hierarchy.v1)
