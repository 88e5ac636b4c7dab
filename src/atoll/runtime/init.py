"""The init: what runs in the clone until it becomes the user's process.

Holds: `run`, the one dangerous sequence, flat and numbered as in `sync.py`, and the same for exec's newcomer.
Does not hold: any decision (`plan.py` has them all made).
Every module it needs is imported before the clone: a test pins the set of those imported after it.
"""

from __future__ import annotations

import errno
import os
import resource

from atoll.base import errors, files, jsontext, timing
from atoll.linux import capability, netdevice, process, seccomp, signals, timens, tty
from atoll.linux import mount as m
from atoll.linux.root import Root
from atoll.runtime import devices, rootfs, sync, sysctl
from atoll.runtime.identity import exec_error, find_program, resolve_user
from atoll.runtime.pin import PINNED, Opened, pin_mounts, pin_root
from atoll.spec.rootfs import Bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any, NoReturn

    from atoll.runtime.identity import Identity
    from atoll.runtime.plan import InitPlan
    from atoll.spec.runtime import Capabilities, Mount, Process

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
        _become_root()
    # procfs files of this process belong to the host's root once it is not dumpable: write them before.
    _set_oom_score(proc)
    if plan.new_namespaces & process.CLONE_NEWTIME:
        timens.enter_new([(clock, offset.secs, offset.nanosecs) for clock, offset in linux.time_offsets])
    # From here no process of a joined namespace may trace us or look into our memory (CVE-2016-9962).
    process.prctl(process.PR_SET_DUMPABLE, 0)
    os.setsid()
    if plan.keyring is not None:
        _join_keyring(plan.keyring)
    joined = _CgroupJoined(plan, end)
    if not any(entry.type == "cgroup" for entry in spec.mounts):
        joined()
    if plan.new_namespaces & process.CLONE_NEWNET:
        netdevice.set_up("lo")

    console = -1
    if plan.mount_namespace:
        if plan.new_namespaces & process.CLONE_NEWNS:
            # Nothing mounted from here on may show on the host; its later unmounts still reach us (slave).
            m.set_propagation("/", m.MS_REC | _PROPAGATION.get(linux.rootfs_propagation or "", m.MS_SLAVE))
        timing.mark("namespaces")
        root = _open_root(plan, place)
        timing.mark("root")
        # A procfs of this pid namespace that only we hold: nothing inside can redirect what is written through
        # it (CVE-2019-19921, CVE-2025-52881).
        proc_fd = _private_proc()
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
        own_dev = any(entry.destination.rstrip("/") == "/dev" for entry in spec.mounts if entry.type != "bind")
        if own_dev:
            devices.make_devices(root, linux.devices, by_bind=plan.bound_devices)
            devices.make_links(root, own_devpts=any(e.type == "devpts" for e in spec.mounts))
            rootfs.seal_dev(root, spec.mounts)
        if proc.terminal:
            console = _open_console(root, spec.mounts, proc, end)
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
        if plan.pivot:
            _pivot(root, linux.rootfs_propagation)
        else:
            _move(root, plan.run)
        root.close()
        for fd in opened:
            os.close(fd)
    else:
        joined()
        proc_fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        with Root.open("/") as root:
            identity = resolve_user(root, proc.user)

    if spec.hostname is not None:
        process.sethostname(spec.hostname)
    if spec.domainname is not None:
        process.setdomainname(spec.domainname)

    program, arguments, environment = _become_user(plan, identity, console, end, proc_fd)
    if plan.seccomp_flags & seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER and proc.no_new_privileges:
        _install_filter(plan, end)  # before the creator is gone, which passes its descriptor on

    # C5: everything that can fail has been done, but for the filter and execve itself.
    timing.mark("pivot, rights")
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
        _exec(plan, program, arguments, environment)
    except BaseException as error:
        if fifo >= 0:
            try:
                told = jsontext.dumps({"error": as_atoll_error(error).to_json()}).encode()
                files.write_all(fifo, told[:_FIFO_MOST])
            except OSError:  # who started us has read its one byte and left; the socket still tells
                pass
        raise


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


def _become_newcomer(plan: InitPlan, end: socket) -> None:
    proc = plan.process
    if plan.user_namespace:
        _become_root()
    os.setsid()
    if plan.keyring is not None:
        _join_keyring(plan.keyring)
    console = -1
    with Root.open("/") as root:
        if proc.terminal:
            console = _console_of_running(proc, end)
        identity = resolve_user(root, proc.user)
    proc_fd = _private_proc() if proc.apparmor_profile or proc.selinux_label else -1
    program, arguments, environment = _become_user(plan, identity, console, end, proc_fd)
    if plan.seccomp_flags & seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER and proc.no_new_privileges:
        _install_filter(plan, end)
    sync.send(end, {"at": "ready"})
    _exec(plan, program, arguments, environment)


def _close_foreign(plan: InitPlan, end: socket) -> None:
    steps = plan.root.steps if plan.root is not None else ()
    pinned = [
        int(s.source.removeprefix(PINNED)) for s in steps if isinstance(s, Bind) and s.source.startswith(PINNED)
    ]
    given = range(3, 3 + plan.preserve_fds)
    trees = [fd for _, fd in plan.trees]
    kept = sorted({0, 1, 2, end.fileno(), plan.fifo, *(plan.stdio or ()), *trees, *plan.held, *pinned, *given})
    first = 0
    for fd in kept:
        if fd > first:
            process.close_range(first, fd - 1)
        first = max(first, fd + 1)
    process.close_range(first)


def _private_proc() -> int:
    attributes = m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOEXEC
    try:
        return m.new_filesystem("proc", (), attributes)
    except PermissionError:
        # A user namespace that does not own its pid namespace: the host's, which nothing inside has touched yet.
        return m.open_tree("/proc", m.OPEN_TREE_CLONE | m.AT_RECURSIVE)


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


_PROPAGATION = {
    "private": m.MS_PRIVATE,
    "rprivate": m.MS_PRIVATE,
    "slave": m.MS_SLAVE,
    "rslave": m.MS_SLAVE,
    "shared": m.MS_SLAVE,
    "rshared": m.MS_SLAVE,
    "unbindable": m.MS_PRIVATE,
    "runbindable": m.MS_PRIVATE,
}


def _become_root() -> None:
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: the map has no 0; the capabilities are there all the same
            raise


def _set_oom_score(proc: Process) -> None:
    if proc.oom_score_adj is None:
        return
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(proc.oom_score_adj))
    except PermissionError:
        raise errors.Denied(
            f"cannot set process.oomScoreAdj to {proc.oom_score_adj}: lowering it needs CAP_SYS_RESOURCE",
            hint="leave it out or raise the value",
        ) from None


def _join_keyring(name: str) -> None:
    try:
        process.join_session_keyring(name)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EDQUOT, errno.EPERM):  # as runc: a kernel without keys is fine
            raise


def _open_sources(plan: InitPlan, opened: list[int]) -> InitPlan:
    assert plan.root is not None
    way = Opened(opened)
    mounts = pin_mounts(plan.spec.mounts, plan.bundle, way)
    return plan.replace(root=pin_root(plan.root, way), spec=plan.spec.replace(mounts=mounts))


def _open_root(plan: InitPlan, place: int) -> Root:
    assert plan.root is not None
    try:
        return rootfs.build_root(plan.root, plan.run, place)
    finally:
        os.close(place)


def _open_console(root: Root, mounts: tuple[Mount, ...], proc: Process, end: socket) -> int:
    """A terminal in the container's own devpts: bind it on /dev/console, send the master to P, keep the slave."""
    devpts = root.open_at("/dev/pts", os.O_RDONLY | os.O_DIRECTORY)
    try:
        master, slave, number = tty.open_pair(devpts)
        devices.bind_console(root, devpts, number, slave)
    finally:
        os.close(devpts)
    return _hand_over(master, slave, proc, end)


def _console_of_running(proc: Process, end: socket) -> int:
    devpts = os.open("/dev/pts", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        master, slave, _ = tty.open_pair(devpts)
    finally:
        os.close(devpts)
    return _hand_over(master, slave, proc, end)


def _hand_over(master: int, slave: int, proc: Process, end: socket) -> int:
    if proc.console_size is not None:
        tty.set_window_size(master, proc.console_size.height, proc.console_size.width)
    sync.send(end, {"at": "console"}, master)
    os.close(master)
    return slave


def _pivot(root: Root, propagation: str | None) -> None:
    """pivot_root(2), section "pivot_root(".", ".")": the old root ends up over the new one and is detached."""
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(root.fd)
    m.pivot_root(".", ".")
    # Its unmounting must not reach the host through the peer group. By descriptor: "." is the new root still.
    os.fchdir(old)
    os.close(old)
    m.set_propagation(".", m.MS_REC | m.MS_SLAVE)
    m.umount2(".", m.MNT_DETACH)
    os.chdir("/")
    if propagation in ("shared", "rshared"):
        m.set_propagation("/", m.MS_SHARED | (m.MS_REC if propagation == "rshared" else 0))
    elif propagation in ("unbindable", "runbindable"):
        m.set_propagation("/", m.MS_UNBINDABLE)


def _move(root: Root, run: str) -> None:
    """Without pivot_root(2) (a root on the initial ramdisk): the new root is moved over the old one, whose other
    mounts of proc and sysfs go first, because the container's own are to be the only way to them."""
    with open("/proc/self/mountinfo") as file:
        places = [(fields[4], fields[fields.index("-") + 1]) for line in file if (fields := line.split())]
    for place, fstype in places:
        if fstype in ("proc", "sysfs") and not f"{place}/".startswith(f"{run}/"):
            m.umount2(place.encode().decode("unicode_escape"), m.MNT_DETACH)
    os.fchdir(root.fd)
    m.mount(".", "/", None, m.MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def _become_user(
    plan: InitPlan, identity: Identity, console: int, end: socket, proc_fd: int
) -> tuple[str, list[str], dict[str, str]]:
    """Standard descriptors, limits, groups, user, capabilities, directory: the last of the rights go here.

    Returns the program's path, its arguments and its environment.
    """
    proc = plan.process
    _set_stdio(plan, console, identity)
    for limit in proc.rlimits:
        _set_rlimit(limit.type, limit.soft, limit.hard)
    if plan.placed:
        from atoll.runtime import placement

        placement.apply(proc, plan.spec.linux)
    if proc.apparmor_profile or proc.selinux_label:
        _set_label(proc, proc_fd)
    if proc.no_new_privileges:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    elif plan.seccomp is not None:
        # Without no_new_privs the filter needs CAP_SYS_ADMIN, which goes below (seccomp(2), EACCES).
        _install_filter(plan, end)
    caps = proc.capabilities
    bounding = capability.mask_of(caps.bounding) if caps else 0
    # The bounding set goes first: dropping from it takes CAP_SETPCAP.
    capability.drop_bounding(bounding)
    _set_groups(plan, identity)
    _set_gid(identity)
    # Keep the permitted set across the change of user; the capset below makes it exact.
    process.prctl(process.PR_SET_KEEPCAPS, 1)
    _set_uid(identity)
    process.prctl(process.PR_SET_KEEPCAPS, 0)
    # setresuid(2) made us dumpable again only at the next execve; the kernel resets the flag here, so set it anew.
    process.prctl(process.PR_SET_DUMPABLE, 0)
    os.umask(0o022 if proc.user.umask is None else proc.user.umask)
    _enter_directory(proc.cwd)
    if caps is not None:
        _set_capabilities(caps, end)
    else:
        capability.capset(0, 0, 0)
        capability.set_ambient(0)
    environment = _environment(proc, identity)
    program = find_program(proc.args[0] if proc.args else "", environment.get("PATH"))
    signals.reset_all()
    return program, list(proc.args), environment


def _set_capabilities(caps: Capabilities, end: socket) -> None:
    """What can be granted is; the rest is a warning (config.md, "Runtimes SHOULD NOT fail")."""
    mask = capability.mask_of
    _, ours, _ = capability.capget()
    bounding = mask(caps.bounding)
    wanted = [mask(names) for names in (caps.permitted, caps.effective, caps.inheritable, caps.ambient)]
    permitted = wanted[0] & ours
    effective = wanted[1] & permitted
    inheritable = wanted[2] & ours & bounding
    ambient = wanted[3] & permitted & inheritable  # it needs both, capabilities(7)
    capability.capset(effective, permitted, inheritable)
    capability.set_ambient(ambient)
    for kind, asked, got in zip(
        ("permitted", "effective", "inheritable", "ambient"),
        wanted,
        (permitted, effective, inheritable, ambient),
        strict=True,
    ):
        if asked & ~got:
            names = ", ".join(capability.names_of(asked & ~got))
            sync.send(end, {"at": "warning", "text": f"process.capabilities.{kind}: {names} cannot be granted"})
    unknown = {*caps.permitted, *caps.effective, *caps.inheritable, *caps.bounding, *caps.ambient} - capability.KNOWN
    if unknown:
        sync.send(end, {"at": "warning", "text": f"process.capabilities: unknown here: {', '.join(sorted(unknown))}"})


def _install_filter(plan: InitPlan, end: socket) -> None:
    """The filter, and its notify descriptor to the creator if it has one."""
    assert plan.seccomp is not None
    listener = seccomp.seccomp_set_mode_filter(plan.seccomp, plan.seccomp_flags)
    if plan.seccomp_flags & seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER:
        sync.send(end, {"at": "listener"}, listener)
        os.close(listener)


def _set_label(proc: Process, proc_fd: int) -> None:
    """For execve, while procfs still lets us (CVE-2019-19921: never through the container's own /proc)."""
    from atoll.linux import lsm

    try:
        if proc.apparmor_profile:
            lsm.set_exec_label(proc_fd, proc.apparmor_profile, apparmor=True)
        if proc.selinux_label:
            lsm.set_exec_label(proc_fd, proc.selinux_label, apparmor=False)
    except OSError as error:
        raise errors.from_os_error(error, "set the security label of the process") from error


def _set_uid(identity: Identity) -> None:
    try:
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise _unmapped(error, "user", identity.uid) from None


def _set_gid(identity: Identity) -> None:
    try:
        os.setresgid(identity.gid, identity.gid, identity.gid)
    except OSError as error:
        raise _unmapped(error, "group", identity.gid) from None


def _unmapped(error: OSError, what: str, number: int) -> errors.AtollError:
    # setresuid(2), EINVAL: the id is not valid in this user namespace.
    if error.errno != errno.EINVAL:
        return errors.from_os_error(error, f"become {what} {number}")
    return errors.Denied(
        f"cannot become {what} {number}: this container's user namespace does not map it",
        hint="an ordinary user has ids beside his own with newuidmap and newgidmap (package uidmap) and ranges in "
        "/etc/subuid and /etc/subgid",
    )


def _set_groups(plan: InitPlan, identity: Identity) -> None:
    groups = sorted(set(identity.groups))
    try:
        os.setgroups(groups)
    except PermissionError:
        # A single-id map of an ordinary user denies setgroups (user_namespaces(7)); what was asked for by name is
        # an error, what came by default (none) is what the namespace shows anyway.
        if groups and plan.process.user.additional_gids:
            raise errors.Denied(
                "cannot set additional groups: this user namespace denies setgroups",
                hint="install newuidmap and newgidmap (package uidmap) and give the user a range in /etc/subgid",
            ) from None


def _set_rlimit(name: str, soft: int, hard: int) -> None:
    number = getattr(resource, name, None)
    if not isinstance(number, int) or not name.startswith("RLIMIT_"):
        raise errors.InvalidArgument(f"process.rlimits: no limit named {name}")
    infinity = (1 << 64) - 1
    values = (-1 if soft >= infinity else soft, -1 if hard >= infinity else hard)
    try:
        resource.setrlimit(number, values)
    except (ValueError, PermissionError) as error:
        now = resource.getrlimit(number)[1]
        raise errors.Denied(
            f"cannot set {name} to {soft}:{hard}: {error}",
            hint=f"the most allowed here is {'unlimited' if now == -1 else now}; more needs CAP_SYS_RESOURCE",
        ) from None


def _set_stdio(plan: InitPlan, console: int, identity: Identity) -> None:
    if console >= 0:
        tty.set_controlling_terminal(console)
        try:
            os.fchown(console, identity.uid, -1)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise
        for number in (0, 1, 2):
            os.dup2(console, number, inheritable=True)
        os.close(console)
        return
    if plan.stdio is not None:
        # Lift them out of the way first: a source may be one of the targets.
        lifted = [os.dup(fd) if fd < 3 else fd for fd in plan.stdio]
        for number, fd in enumerate(lifted):
            os.dup2(fd, number, inheritable=True)
    for number in (0, 1, 2):
        # `echo > /dev/stderr` opens the pipe anew: it must belong to the user (moby/moby#31243).
        try:
            info = os.fstat(number)
            if info.st_uid != identity.uid and not _is_null(info):
                os.fchown(number, identity.uid, -1)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL, errno.EROFS, errno.EBADF):
                raise


def _is_null(info: os.stat_result) -> bool:
    return info.st_rdev == os.makedev(1, 3)


def _enter_directory(path: str) -> None:
    try:
        os.chdir(path)
    except FileNotFoundError:
        # Docker makes a missing working directory, as the container's root would; here it is made by the user.
        try:
            os.makedirs(path, 0o755)
            os.chdir(path)
        except OSError as error:
            raise errors.from_os_error(error, f"enter the working directory {path}") from None
    except OSError as error:
        raise errors.from_os_error(error, f"enter the working directory {path}") from None
    # A descriptor of the host under /proc/self/fd would be a directory outside the root: the kernel then cannot
    # name it from our root (CVE-2024-21626).
    try:
        inside = os.getcwd().startswith("/")
    except FileNotFoundError:
        inside = False
    if not inside:
        raise errors.Denied(f"the working directory {path} lies outside the container's root")


def _environment(proc: Process, identity: Identity) -> dict[str, str]:
    environment: dict[str, str] = {}
    for entry in proc.env:
        key, equals, value = entry.partition("=")
        if equals and key:
            environment[key] = value
    environment.setdefault("HOME", identity.home)
    return environment


def _exec(plan: InitPlan, program: str, arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """C7: the filter last, then nothing but closing and execve."""
    # Everything above the standard descriptors (and those to be kept) goes at execve; the socket with it, which
    # is what tells P that the program runs (CVE-2024-21626).
    process.close_range(3 + plan.preserve_fds, flags=process.CLOSE_RANGE_CLOEXEC)
    notifying = plan.seccomp_flags & seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER
    if plan.process.no_new_privileges and plan.seccomp is not None and not notifying:
        seccomp.seccomp_set_mode_filter(plan.seccomp, plan.seccomp_flags)
    try:
        os.execve(program, arguments, environment)
    except OSError as error:
        raise exec_error(error, program) from None
