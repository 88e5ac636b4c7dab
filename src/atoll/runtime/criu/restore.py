"""restore: a container from the images that a checkpoint left.

Holds: `restore`, and the check of what came back. Does not hold: the conversation (`rpc.py`).
What the processes may do is the bundle's to say, never the images': these are files from anywhere, and CRIU gives
each process the credentials that they name (CVE-2026-94603, CVE-2026-53492). So before the processes run, each is
compared with config.json: one with more rights than that gives, or fewer fences, ends the restore.
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.base.rollback import Rollback
from atoll.linux import capability, process
from atoll.linux import mount as m
from atoll.runtime import prepare, seccomp, state
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.runtime.cgroups.detect import detect
from atoll.runtime.cgroups.paths import default_path
from atoll.runtime.create import Created
from atoll.runtime.criu import external, rpc
from atoll.runtime.criu.dump import options_of
from atoll.runtime.validate import validate
from atoll.spec.runtime import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.runtime.cgroups.detect import Hierarchy
    from atoll.runtime.criu.dump import Wanted
    from atoll.spec.runtime import Spec

_ROOT = "criu-root"
_KINDS = {"mount": "mnt", "network": "net"}


class Restored:
    """What is known of the container while CRIU works."""

    def __init__(self) -> None:
        self.pid = 0
        self.console: int | None = None


def restore(*, container_id: str, spec: Spec, bundle: str, run: str, wanted: Wanted, program: str | None) -> Created:
    """Bring a container back into the run directory `run` (made by the caller, empty). Its processes are children of
    the caller. Raises AtollError; then nothing of it is left but what the caller made."""
    validate(spec, has_root=False)
    if os.geteuid() != 0:
        raise errors.Unsupported("cannot restore rootless containers")
    rpc.preflight(program)
    assert spec.linux is not None
    assert spec.root is not None
    hierarchy = detect()
    with Rollback() as undo:
        # 1. As create does: noted, then made. The filter is compiled from the bundle, for exec and for the check.
        undo.push(files.unlink_if_present, f"{run}/{state.CREATING}")
        path = spec.linux.cgroups_path or default_path(container_id, rootless=True)
        state.note_creating(run, Cgroup.planned(path, hierarchy))
        filter_ = seccomp.compile(spec.linux.seccomp) if spec.linux.seccomp is not None else None
        cgroup = Cgroup.create(path, spec.linux.resources or Resources(), hierarchy)
        undo.push(cgroup.delete)
        undo.push(cgroup.kill)
        # 2. CRIU wants a root that is a mount.
        rootfs = os.path.join(bundle, spec.root.path)
        root = _mount_root(rootfs, run, undo)
        # 3. What lies outside, by the bundle.
        options = options_of(wanted, undo) | _outside(spec, bundle, rootfs, wanted, cgroup, hierarchy, undo)
        options |= {"root": root, "log_file": "restore.log", "rst_sibling": True, "evasive_devices": True}
        # 4. CRIU in the cgroup: what it makes is born there.
        found = Restored()
        criu = rpc.Criu(program)
        undo.push(criu.close)
        cgroup.add(criu.pid)

        def notified(script: str, pid: int, fd: int) -> None:
            if script == "orphan-pts-master" and fd >= 0:
                found.console = os.dup(fd)
                undo.push(os.close, found.console)
            elif script == "setup-namespaces":
                _run_hooks(spec, container_id, bundle, pid)
            elif script == "post-restore":
                found.pid = pid
                undo.push(_kill, pid)
                check(spec, pid, [one for one in cgroup.pids() if not _is_criu(one, criu.pid)])

        answer = criu.request(rpc.RESTORE, options, notified)
        # 5. It runs.
        pid = rpc.restored_pid(answer) or found.pid
        if not found.pid:
            undo.push(_kill, pid)
            raise errors.FailedPrecondition("criu restored the container without asking: nothing of it was checked")
        pidfd = process.pidfd_open(pid)
        undo.push(os.close, pidfd)
        if filter_ is not None:
            files.write_atomic(f"{run}/{state.FILTER}", filter_)
        state.write(run, _record(spec, container_id, bundle, rootfs, pid, cgroup, filter_))
        os.unlink(f"{run}/{state.CREATING}")
        undo.release()
    criu.close()
    _unmount(root)
    if spec.hooks is not None and spec.hooks.poststart:
        from atoll.runtime import hooks

        hooks.run("poststart", spec.hooks.poststart, hooks.of_record(state.read(run), state.RUNNING))
    return Created(pid=pid, pidfd=pidfd, sync=-1, console=found.console)


def _mount_root(rootfs: str, run: str, undo: Rollback) -> str:
    place = f"{run}/{_ROOT}"
    try:
        os.mkdir(place, 0o700)
        tree = m.open_tree(rootfs, m.OPEN_TREE_CLONE | m.AT_RECURSIVE)
        target = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            m.move_mount(tree, target, place)
            undo.push(_unmount, place)
            m.mount_setattr(tree, propagation=m.MS_PRIVATE, recursive=True)
        finally:
            os.close(tree)
            os.close(target)
    except OSError as error:
        raise errors.from_os_error(error, f"mount the root {rootfs} for criu") from error
    return place


def _unmount(place: str) -> None:
    m.umount2(place, m.MNT_DETACH)
    os.rmdir(place)


def _outside(
    spec: Spec, bundle: str, rootfs: str, wanted: Wanted, cgroup: Cgroup, hierarchy: Hierarchy, undo: Rollback
) -> dict[str, Any]:
    """Mounts, namespaces, descriptors, cgroups and labels, as the bundle has them."""
    assert spec.linux is not None
    assert spec.process is not None
    shown = prepare.cgroup_mounts_of(spec, hierarchy, cgroup, 0, ())
    given = []
    for key, path in external.namespaces(spec):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        undo.push(os.close, fd)
        os.set_inheritable(fd, True)  # CRIU looks for it under this very number
        given.append({1: key, 2: fd})
    try:
        given += [{1: name, 2: number} for name, number in external.descriptors(wanted.images)]
    except (OSError, ValueError):  # a checkpoint by another runtime
        pass
    profile = wanted.lsm_profile
    if profile is None and spec.process.apparmor_profile:
        profile = f"apparmor:{spec.process.apparmor_profile}"
    elif profile is None and spec.process.selinux_label:
        profile = f"selinux:{spec.process.selinux_label}"
    return {
        "ext_mnt": [{1: inside, 2: outside} for inside, outside in external.mounts(spec, bundle, shown, rootfs)],
        "inherit_fd": given,
        "cg_root": _cgroup_roots(cgroup, hierarchy),
        "lsm_profile": profile,
        "lsm_mount_context": wanted.lsm_mount_context or spec.linux.mount_label,
    }


def _cgroup_roots(cgroup: Cgroup, hierarchy: Hierarchy) -> list[dict[int, Any]]:
    tops = {mount.controllers: mount.path for mount in hierarchy.v1}
    found: list[dict[int, Any]] = []
    for controllers, place in cgroup.v1:
        names = ",".join([one.partition("=")[2] if one.startswith("name=") else one for one in controllers])
        found.append({1: names, 2: place.removeprefix(tops[controllers])})
    if cgroup.unified is not None and hierarchy.unified is not None:
        found.append({2: cgroup.unified.removeprefix(hierarchy.unified.path)})
    return found


def _run_hooks(spec: Spec, container_id: str, bundle: str, pid: int) -> None:
    if spec.hooks is None:
        return
    from atoll.runtime import hooks

    document = hooks.document(
        version=spec.oci_version,
        container_id=container_id,
        status="creating",
        pid=pid,
        bundle=bundle,
        annotations=spec.annotations,
    )
    hooks.run("prestart", spec.hooks.prestart, document)
    hooks.run("createRuntime", spec.hooks.create_runtime, document)


def _record(
    spec: Spec, container_id: str, bundle: str, rootfs: str, pid: int, cgroup: Cgroup, filter_: bytes | None
) -> state.State:
    assert spec.linux is not None
    rules = spec.linux.seccomp
    return state.State(
        id=container_id,
        pid=pid,
        start_time=process.start_time(pid),
        boot_id=state.boot_id(),
        bundle=bundle,
        created=state.now(),
        oci_version=spec.oci_version,
        cgroup=None if cgroup.empty else cgroup.to_json(),
        user_namespace=any(one.type == "user" for one in spec.linux.namespaces),
        annotations=spec.annotations,
        seccomp_flags=seccomp.install_flags(rules) if rules is not None and filter_ is not None else None,
        rootfs=rootfs,
        hooks=prepare.later_hooks(spec),
        listener=prepare.listener_of(spec.linux),
    )


def _kill(pid: int) -> None:
    try:
        os.kill(pid, process.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def _is_criu(pid: int, criu: int) -> bool:
    """Whether a process is CRIU's own: its program, in our pid namespace."""
    try:
        one, other = os.stat(f"/proc/{pid}/exe"), os.stat(f"/proc/{criu}/exe")
        mine, its = os.stat("/proc/self/ns/pid"), os.stat(f"/proc/{pid}/ns/pid")
    except OSError:
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) and mine.st_ino == its.st_ino


# --- what came back -----------------------------------------------------------------------------------------------


def check(spec: Spec, init: int, pids: list[int]) -> None:
    """Compare each process with the bundle. Raises Denied naming the first that has more than it gives."""
    assert spec.linux is not None
    assert spec.process is not None
    caps = spec.process.capabilities
    most = capability.mask_of(caps.bounding) if caps is not None else 0
    for pid in sorted({init, *pids}):
        try:
            status = _status_of(pid)
        except OSError as error:
            raise errors.Denied(f"restored process {pid} cannot be looked at: {error.strerror}") from None
        refused = None
        for name in ("CapBnd", "CapPrm", "CapInh", "CapAmb"):
            beyond = int(status[name], 16) & ~most
            if beyond:
                refused = f"{name} holds {', '.join(capability.names_of(beyond))}"
        if spec.process.no_new_privileges and status.get("NoNewPrivs") != "1":
            refused = "no_new_privs is off"
        if spec.linux.seccomp is not None and status.get("Seccomp") != "2":
            refused = "it has no seccomp filter"
        refused = refused or _namespaces(spec, pid)
        if refused is not None:
            raise errors.Denied(
                f"the images give process {pid} more than the bundle: {refused}",
                hint="restore with the config.json of the checkpoint",
            )


def _status_of(pid: int) -> dict[str, str]:
    lines = files.read_text(f"/proc/{pid}/status").split("\n")
    return {name: value.strip() for name, colon, value in [line.partition(":") for line in lines] if colon}


def _namespaces(spec: Spec, pid: int) -> str | None:
    """Each namespace that the bundle names is another than ours, or the one it names."""
    assert spec.linux is not None
    for one in spec.linux.namespaces:
        kind = _KINDS.get(one.type, one.type)
        its = os.stat(f"/proc/{pid}/ns/{kind}")
        wanted = os.stat(one.path or f"/proc/self/ns/{kind}")
        if (its.st_ino == wanted.st_ino) != bool(one.path):
            return f"it is in another {one.type} namespace than the bundle says"
    return None
