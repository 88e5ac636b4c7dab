"""The init: what runs in the clone until it becomes the user's process.

Holds: `run`, the one dangerous sequence, flat and numbered as in `sync.py`, the same for exec's newcomer (`enter`),
and the last of it that both share (`_become_user`). Does not hold: any decision (`plan.py` has them all made), nor
how a single step is done (`rootfs.py`, `devices.py`, `pivot.py`, `streams.py`, `rights.py`, `program.py`).
Every module it needs is imported before the clone: a test pins the set of those imported after it.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext, timing
from atoll.linux import capability, netdevice, process, seccomp, signals, timens
from atoll.linux import mount as m
from atoll.linux.root import Root
from atoll.runtime import devices, pivot, program, rights, rootfs, streams, sync, sysctl
from atoll.runtime.identity import find_program, resolve_user
from atoll.runtime.pin import PINNED, Opened, pin_mounts, pin_root
from atoll.spec.rootfs import Bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any, NoReturn

    from atoll.runtime.identity import Identity
    from atoll.runtime.plan import InitPlan

_EXIT = {"command-not-found": 127, "command-not-executable": 126}
_FIFO_MOST = 4096  # a write of PIPE_BUF is whole


def run(plan: InitPlan, end: socket) -> NoReturn:
    """Become the container's first process. Never returns: execve, or an error through `end` and `os._exit`."""
    _guarded(_become_container, plan, end)


def enter(plan: InitPlan, end: socket) -> NoReturn:
    """Become a further process of a running container, whose namespaces this process has joined already."""
    _guarded(_become_newcomer, plan, end)


def _guarded(body: object, plan: InitPlan, end: socket) -> NoReturn:
    code = 125
    try:
        body(plan, end)  # type: ignore[operator]
    except BaseException as error:  # noqa: BLE001 - a clone must never return into its parent's code
        wrapped = as_atoll_error(error)
        code = _EXIT.get(wrapped.kind, 125)
        try:
            sync.send(end, {"error": wrapped.to_json()})
        except OSError:
            pass
    finally:
        os._exit(code)


def as_atoll_error(error: BaseException) -> errors.AtollError:
    if isinstance(error, errors.AtollError):
        return error
    if isinstance(error, OSError):
        return errors.from_os_error(error, "set up the container")
    return errors.Internal(f"fault in the container's init: {type(error).__name__}: {error}")


def _become_container(plan: InitPlan, end: socket) -> None:
    spec, proc = plan.spec, plan.process
    linux = spec.linux
    assert linux is not None

    # Until start, this process lives with copies of all that its creator has open: it keeps what it needs.
    _close_foreign(plan, end)

    # C1: the ids are mapped; before that, nothing here has any right.
    sync.expect(end, "go", "mapped")

    if timing.enabled():
        timing.begin()
    # The way to the mount point may be closed to the mapped root: held while we still are the caller.
    place = os.open(plan.run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if plan.root is not None else -1
    opened: list[int] = []
    if plan.open_sources:
        plan = _open_sources(plan, opened)
        spec = plan.spec

    # C2. Root of the new user namespace first: every step below needs its capabilities.
    if plan.user_namespace:
        rights.become_root()
    # procfs files of this process belong to the host's root once it is not dumpable: write them before.
    rights.set_oom_score(proc)
    if plan.new_namespaces & process.CLONE_NEWTIME:
        timens.enter_new([(clock, offset.secs, offset.nanosecs) for clock, offset in linux.time_offsets])
    # From here no process of a joined namespace may trace us or look into our memory (CVE-2016-9962).
    process.prctl(process.PR_SET_DUMPABLE, 0)
    os.setsid()
    if plan.keyring is not None:
        rights.join_keyring(plan.keyring)
    joined = _CgroupJoined(plan, end)
    if not any(entry.type == "cgroup" for entry in spec.mounts):
        joined()
    if plan.new_namespaces & process.CLONE_NEWNET and not plan.begun:
        netdevice.set_up("lo")
    if plan.new_namespaces & process.CLONE_NEWNS:
        # Nothing mounted from here on may show on the host; its later unmounts still reach us (slave).
        pivot.isolate(linux.rootfs_propagation)
    timing.mark("namespaces")

    root = _open_root(plan, place)
    timing.mark("root")
    # A procfs of this pid namespace that only we hold: nothing inside can redirect what is written through it
    # (CVE-2019-19921, CVE-2025-52881).
    proc_fd = pivot.private_proc()
    rootfs.mount_all(
        root,
        spec.mounts,
        plan.bundle,
        plan.cgroup_mounts,
        trees=plan.trees,
        label=linux.mount_label,
        before_cgroups=joined,
    )
    joined()
    timing.mark("mounts")
    if not any(e.destination.rstrip("/") == "/dev" and rootfs.is_bind(e) for e in spec.mounts):
        if not plan.dev_filled:
            if plan.mount_namespace or not plan.bound_devices:  # they would be bound into the caller's own mounts
                devices.make_devices(root, linux.devices, by_bind=plan.bound_devices)
            devices.make_links(root, own_devpts=any(e.type == "devpts" for e in spec.mounts))
        rootfs.seal_dev(root, spec.mounts)
    console = -1
    if proc.terminal:
        console = streams.open_console(root, proc, end) if plan.mount_namespace else streams.open_here(proc, end)
    # C3, C4: the namespaces stand, the root is mounted and still seen from outside.
    if spec.hooks is not None:
        _run_hooks(plan, end)
    sysctl.apply(proc_fd, linux.sysctl)
    rootfs.make_read_only(root, linux.readonly_paths)
    rootfs.hide(root, linux.masked_paths)
    if spec.root is not None and spec.root.readonly:
        m.mount_setattr(root.fd, set=m.MOUNT_ATTR_RDONLY)
    timing.mark("devices, masks")
    # Resolved now, by the files of the root, while the handle is at hand; used after the pivot.
    identity = resolve_user(root, proc.user)
    if not plan.mount_namespace:
        pivot.confine(root)
    elif plan.pivot:
        pivot.pivot(root, linux.rootfs_propagation)
    else:
        pivot.move(root, plan.run)
    root.close()
    for fd in opened:
        os.close(fd)

    if spec.hostname is not None:
        process.sethostname(spec.hostname)
    if spec.domainname is not None:
        process.setdomainname(spec.domainname)

    path, arguments, environment = _become_user(plan, identity, console, end, proc_fd)
    if plan.seccomp_flags & seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER and proc.no_new_privileges:
        rights.install_filter(plan, end)  # before the creator is gone, which passes its descriptor on

    # C5: everything that can fail has been done, but for the filter and execve itself.
    timing.mark("pivot, rights")
    if plan.ready is not None:
        plan.ready()
    sync.send(end, {"at": "ready", "steps": timing.take()})

    # C6: the creator has written its record; then `start` opens the other end of the fifo. Through our own procfs:
    # the path is outside the root by now. It stays open: execve closes it, which tells `start` that the program runs.
    sync.expect(end, "go", "recorded")
    fifo = -1
    if plan.fifo >= 0:
        fifo = os.open(f"self/fd/{plan.fifo}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc_fd)
        os.write(fifo, b"0")
    os.close(proc_fd)

    try:
        if spec.hooks is not None:
            hooks_module().run("startContainer", spec.hooks.start_container, _state_for_hooks(plan, "created"))
        program.execute(plan, path, arguments, environment, end)  # C7
    except BaseException as error:
        if fifo >= 0:
            try:
                told = jsontext.dumps({"error": as_atoll_error(error).to_json()}).encode()
                files.write_all(fifo, told[:_FIFO_MOST])
            except OSError:  # who started us has read its one byte and left; the socket still tells
                pass
        raise


def _become_newcomer(plan: InitPlan, end: socket) -> None:
    proc = plan.process
    if plan.user_namespace:
        rights.become_root()
    os.setsid()
    if plan.keyring is not None:
        rights.join_keyring(plan.keyring)
    console = -1
    with Root.open("/") as root:
        if proc.terminal:
            console = streams.open_here(proc, end)
        identity = resolve_user(root, proc.user)
    proc_fd = pivot.private_proc() if proc.apparmor_profile or proc.selinux_label else -1
    path, arguments, environment = _become_user(plan, identity, console, end, proc_fd, joins=True)
    if plan.seccomp_flags & seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER and proc.no_new_privileges:
        rights.install_filter(plan, end)
    sync.send(end, {"at": "ready"})
    program.execute(plan, path, arguments, environment, end)


def _become_user(
    plan: InitPlan, identity: Identity, console: int, end: socket, proc_fd: int, *, joins: bool = False
) -> tuple[str, list[str], dict[str, str]]:
    """Standard descriptors, limits, groups, user, capabilities, directory: the last of the rights go here. `joins`: a
    further process of the container, whose files are not ours to add to.

    Returns the program's path, its arguments and its environment.
    """
    proc = plan.process
    streams.set_stdio(plan, console, identity)
    for limit in proc.rlimits:
        rights.set_rlimit(limit.type, limit.soft, limit.hard)
    if plan.placed:
        from atoll.runtime import placement

        placement.apply(proc, plan.spec.linux)
    if proc.apparmor_profile or proc.selinux_label:
        rights.set_label(proc, proc_fd)
    if proc.no_new_privileges:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    elif plan.seccomp is not None:
        # Without no_new_privs the filter needs CAP_SYS_ADMIN, which goes below (seccomp(2), EACCES).
        rights.install_filter(plan, end)
    caps = proc.capabilities
    # The bounding set goes first: dropping from it takes CAP_SETPCAP.
    capability.drop_bounding(capability.mask_of(caps.bounding) if caps else 0)
    rights.set_groups(plan, identity)
    rights.set_gid(identity)
    # Keep the permitted set across the change of user; the capset below makes it exact.
    process.prctl(process.PR_SET_KEEPCAPS, 1)
    rights.set_uid(identity)
    process.prctl(process.PR_SET_KEEPCAPS, 0)
    # setresuid(2) made us dumpable again only at the next execve; the kernel resets the flag here, so set it anew.
    process.prctl(process.PR_SET_DUMPABLE, 0)
    os.umask(0o022 if proc.user.umask is None else proc.user.umask)
    program.enter_directory(proc.cwd, make=not joins)
    if caps is not None:
        rights.set_capabilities(caps, end)
    else:
        capability.capset(0, 0, 0)
        capability.set_ambient(0)
    environment = program.environment_of(proc, identity)
    path = find_program(proc.args[0] if proc.args else "", environment.get("PATH"))
    program.refuse_shut_out(plan, path)
    signals.reset_all()
    return path, list(proc.args), environment


class _CgroupJoined:
    """Waits, once, until the creator has moved us into the cgroup: the cgroup namespace is rooted where we are."""

    def __init__(self, plan: InitPlan, end: socket) -> None:
        self.plan, self.end, self.done = plan, end, False

    def __call__(self) -> None:
        if not self.done:
            self.done = True
            sync.expect(self.end, "go", "joined")
            if self.plan.new_namespaces & process.CLONE_NEWCGROUP:
                process.unshare(process.CLONE_NEWCGROUP)


def _close_foreign(plan: InitPlan, end: socket) -> None:
    steps = plan.root.steps if plan.root is not None else ()
    pinned = [
        int(s.source.removeprefix(PINNED)) for s in steps if isinstance(s, Bind) and s.source.startswith(PINNED)
    ]
    given = range(3, 3 + plan.preserve_fds)
    trees = [fd for _, fd in plan.trees]
    kept = sorted(
        {0, 1, 2, end.fileno(), plan.fifo, *(plan.stdio or ()), *trees, *plan.servers, *plan.held, *pinned, *given}
    )
    first = 0
    for fd in kept:
        if fd > first:
            process.close_range(first, fd - 1)
        first = max(first, fd + 1)
    process.close_range(first)


def _open_sources(plan: InitPlan, opened: list[int]) -> InitPlan:
    assert plan.root is not None
    way = Opened(opened)
    mounts = pin_mounts(plan.spec.mounts, plan.bundle, way)
    return plan.replace(root=pin_root(plan.root, way), spec=plan.spec.replace(mounts=mounts))


def _open_root(plan: InitPlan, place: int) -> Root:
    assert plan.root is not None
    try:
        if not plan.mount_namespace:  # nothing is to be mounted in the caller's: the directory itself is the root
            (only,) = plan.root.steps
            assert isinstance(only, Bind)
            return Root.open(only.source)
        return rootfs.build_root(plan.root, plan.run, place, plan.servers)
    finally:
        os.close(place)


def hooks_module() -> Any:
    """`hooks.py`, which `create.py` has imported before the clone where the spec has hooks."""
    from atoll.runtime import hooks

    return hooks


def _run_hooks(plan: InitPlan, end: socket) -> None:
    assert plan.spec.hooks is not None
    sync.send(end, {"at": "hooks"})
    sync.expect(end, "go", "hooked")
    hooks_module().run("createContainer", plan.spec.hooks.create_container, _state_for_hooks(plan, "creating"))


def _state_for_hooks(plan: InitPlan, status: str) -> bytes:
    document: bytes = hooks_module().document(
        version=plan.spec.oci_version,
        container_id=plan.id,
        status=status,
        pid=os.getpid(),
        bundle=plan.bundle,
        annotations=plan.spec.annotations,
    )
    return document
