"""create: from a spec to a container that waits just before execve. The creator's side; `init.py` is the other.

Holds: `create`, flat and numbered as in `sync.py`. Does not hold: starting it (`start.py`), waiting, streams.
The caller is single-threaded, sealed (`seal.py`) and the child's reaper; nothing is left behind on failure.
"""

from __future__ import annotations

import errno
import os

from atoll.base import errors, files, jsontext, timing
from atoll.base.rollback import Rollback
from atoll.base.value import Value
from atoll.linux import process
from atoll.linux.userns import in_initial, write_maps
from atoll.runtime import init, joining, pin, seccomp, state, sync
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.runtime.cgroups.detect import detect
from atoll.runtime.cgroups.paths import default_path
from atoll.runtime.plan import CgroupMount, InitPlan
from atoll.runtime.validate import validate
from atoll.spec.rootfs import Bind, RootPlan
from atoll.spec.runtime import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

    from atoll.runtime.cgroups.detect import Hierarchy
    from atoll.runtime.plan import Join
    from atoll.spec.runtime import Linux, Mount, Process, Spec


class Created(Value):
    """A container that was created. All descriptors belong to the caller.

    `sync` becomes readable after the start: end of file says that the program was executed, otherwise there is one
    JSON error and the init exits with 125, 126 or 127. `console` is the terminal's master, if one was asked for;
    `warnings` say what the container got less of than was asked for, where the spec wants no error of it.
    """

    pid: int
    pidfd: int
    sync: int
    console: int | None = None
    warnings: tuple[str, ...] = ()


def create(
    *,
    container_id: str,
    spec: Spec,
    root: RootPlan | None,
    bundle: str,
    run: str,
    stdio: tuple[int, int, int] | None = None,
    terminal: bool = False,
    cache: str | None = None,
    helpers: tuple[str, str] | None = None,
    start: bool = False,
    preserve_fds: int = 0,
    keyring: bool = True,
    pivot: bool = True,
    rootless: bool | None = None,
    systemd: bool = False,
) -> Created:
    """Create a container in the run directory `run` (made by the caller, mode 0700, empty).

    `root` is how to mount the root (None: bind `root.path` of the spec, relative to `bundle`). `cache` is where
    compiled filters are kept, `helpers` the programs newuidmap and newgidmap. With `start` the program is executed
    at once instead of waiting for `start.start`. The program gets `preserve_fds` descriptors from 3 on, a session
    keyring of its own with `keyring`, its root by pivot_root(2), or without `pivot` by moving the mount.
    `rootless`: do without cgroups that may not be made; None to find out. Raises AtollError; then the cgroup, the
    process and the files in `run` are gone.
    """
    validate(spec, has_root=root is not None)
    linux, proc = spec.linux, spec.process
    assert linux is not None
    assert proc is not None
    terminal = terminal or proc.terminal
    initial = in_initial()
    if rootless is None:
        rootless = os.geteuid() != 0 or not initial
    if systemd:
        raise errors.Unsupported("--systemd-cgroup: there is no systemd driver yet", hint="use cgroupfs paths")
    with Rollback() as undo:
        # What can be known before the clone is found out before it.
        flags, joins = joining.open_namespaces(linux.namespaces, undo)
        own_user_namespace = bool(flags & process.CLONE_NEWUSER)
        user_namespace = own_user_namespace or any(join.flag == process.CLONE_NEWUSER for join in joins)
        program = seccomp.cached(linux.seccomp, cache) if linux.seccomp and cache else None
        if linux.seccomp and program is None:
            program = seccomp.compile(linux.seccomp)
        if spec.hooks is not None:
            from atoll.runtime import hooks  # noqa: F401 - the init must find it loaded
        trees: tuple[tuple[int, int], ...] = ()
        if any(entry.uid_mappings or "idmap" in entry.options or "ridmap" in entry.options for entry in spec.mounts):
            from atoll.runtime import idmap

            trees = idmap.prepare(spec.mounts, linux, bundle, undo)
        if any("tmpcopyup" in entry.options for entry in spec.mounts):
            from atoll.runtime import copyup  # noqa: F401 - the init must find it loaded
        placed = needs_placement(proc, linux)
        fifo = -1 if start else _make_fifo(run, undo)
        hierarchy = detect()
        path = linux.cgroups_path or default_path(container_id, rootless=True)  # below our own, as runc does

        # P0. What is made below is noted first: a creator that is killed leaves a container that `delete` can undo.
        undo.push(files.unlink_if_present, f"{run}/{state.CREATING}")
        planned = Cgroup.planned(path, hierarchy)
        state.note_creating(run, planned)
        undo.push(_poststop_of_failed, spec, container_id, bundle)
        # On cgroup v1 making and joining ten hierarchies takes as long as half the mounts: the init begins with those
        # meanwhile. On v2 it is cloned into its cgroup, and where a limit may be refused nothing is begun before.
        meanwhile = bool(hierarchy.v1) and bool(flags & process.CLONE_NEWCGROUP) and not (rootless or joins)
        made: list[Cgroup] = []
        undo.push(_delete_all, made)
        if not meanwhile:
            made.append(Cgroup.create(path, linux.resources or Resources(), hierarchy, rootless=rootless))
        timing.mark("filter, cgroup")
        ours, theirs = sync.pair()
        undo.push(ours.close)
        root_plan, mounts = root if root is not None else _root_of(spec, bundle), spec.mounts
        held: list[int] = []
        if own_user_namespace and not rootless:
            root_plan, mounts = _pinned(root_plan, mounts, bundle, held, undo)
        plan = InitPlan(
            spec=spec.replace(mounts=mounts),
            process=proc.replace(terminal=terminal),
            root=root_plan,
            held=tuple(held),
            open_sources=rootless and own_user_namespace and _is_stranger(linux),
            bundle=bundle,
            run=run,
            new_namespaces=flags,
            user_namespace=user_namespace,
            id=container_id,
            cgroup_mounts=_cgroup_mounts(spec, hierarchy, made[0] if made else planned, flags, joins),
            seccomp=program,
            seccomp_flags=seccomp.install_flags(linux.seccomp) if linux.seccomp else 0,
            fifo=fifo,
            stdio=stdio,
            preserve_fds=preserve_fds,
            keyring=f"_ses.{container_id[:32]}" if keyring else None,
            pivot=pivot,
            trees=trees,
            placed=placed,
            bound_devices=user_namespace or not initial,
        )

        # P1. The cgroup and time namespaces are unshared later (C2): the one when the process is in its cgroup, the
        # other with its offsets.
        later = process.CLONE_NEWCGROUP | process.CLONE_NEWTIME
        into = made[0] if made else None
        pid, pidfd = _clone(flags & ~later, joins, into, lambda: _become_init(ours, theirs, plan))
        timing.mark("clone")
        theirs.close()
        undo.push(_end, pidfd, pid, made)
        _close_all(held)

        # P2
        if own_user_namespace:
            _write_maps(pid, linux, helpers)

        # An ordinary user may move only a process of their own uid, which the mapped init soon has no more.
        if not meanwhile:
            made[0].add(pid)

        # P3. If the init died already, its own error is in the socket and says more than EPIPE would.
        _go(ours, "mapped")
        if meanwhile:
            made.append(Cgroup.create(path, linux.resources or Resources(), hierarchy, rootless=rootless))
            made[0].add(pid)
        cgroup = made[0]
        timing.mark("id maps, cgroup")
        _go(ours, "joined")
        if program is not None:  # what exec gives its newcomers
            files.write_atomic(f"{run}/{state.FILTER}", program)
            undo.push(os.unlink, f"{run}/{state.FILTER}")
        state.write(
            run,
            state.State(
                id=container_id,
                pid=pid,
                start_time=process.start_time(pid),
                boot_id=state.boot_id(),
                bundle=bundle,
                created=state.now(),
                oci_version=spec.oci_version,
                cgroup=None if cgroup.empty else cgroup.to_json(),
                rootless=rootless,
                user_namespace=user_namespace,
                annotations=spec.annotations,
                seccomp_flags=plan.seccomp_flags if program is not None else None,
                rootfs=os.path.join(bundle, spec.root.path) if root is None and spec.root is not None else None,
                hooks=_later_hooks(spec),
                listener=_listener(linux),
            ),
        )
        undo.push(os.unlink, f"{run}/{state.FILE}")

        # P4, P5
        console, warnings = _await_ready(ours, plan, pid, undo)
        os.unlink(f"{run}/{state.CREATING}")
        _go(ours, "recorded")
        if fifo >= 0:
            os.close(fifo)
        for fd in [*[join.fd for join in joins], *[fd for _, fd in trees]]:
            os.close(fd)
        undo.release()
    return Created(pid=pid, pidfd=pidfd, sync=ours.detach(), console=console, warnings=warnings)


def _make_fifo(run: str, undo: Rollback) -> int:
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


def _root_of(spec: Spec, bundle: str) -> RootPlan:
    assert spec.root is not None
    path = os.path.join(bundle, spec.root.path)
    if not os.path.isdir(path):
        raise errors.NotFound(f"root.path: no directory {path}")
    return RootPlan(steps=(Bind(source=path, target="/"),))


def _pinned(
    root: RootPlan, mounts: tuple[Mount, ...], bundle: str, held: list[int], undo: Rollback
) -> tuple[RootPlan, tuple[Mount, ...]]:
    """Sources opened by us, since the container's root is a stranger on this host."""
    undo.push(_close_all, held)
    try:
        way = pin.Detached(held)
        return pin.pin_root(root, way), pin.pin_mounts(mounts, bundle, way)
    except OSError as error:
        raise errors.from_os_error(error, "open a mount's source") from error


def _is_stranger(linux: Linux) -> bool:
    """Whether the container's root is not the caller, who then opens what it may not reach."""
    own = os.geteuid()
    return not any(m.container_id == 0 and m.host_id == own for m in linux.uid_mappings)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()


def _become_init(ours: socket, theirs: socket, plan: InitPlan) -> None:
    ours.close()
    init.run(plan, theirs)


def _clone(flags: int, joins: tuple[Join, ...], cgroup: Cgroup | None, body: Callable[[], None]) -> tuple[int, int]:
    directory = cgroup.open_dir() if cgroup is not None else None
    try:
        try:
            return _clone_in(flags, joins, -1 if directory is None else directory, body)
        except OSError as error:
            if directory is None or error.errno not in (errno.ENOSYS, errno.E2BIG, errno.EINVAL):
                raise
            return _clone_in(flags, joins, -1, body)  # before Linux 5.7; `add` moves it then
    except OSError as error:
        hint = None
        if error.errno in (errno.EPERM, errno.ENOSPC, errno.EUSERS) and flags & process.CLONE_NEWUSER:
            hint = "user namespaces may be limited here: see /proc/sys/user/max_user_namespaces and 'atoll info'"
        raise errors.from_os_error(error, "create the container's namespaces", hint=hint) from error
    finally:
        if directory is not None:
            os.close(directory)


def _clone_in(flags: int, joins: tuple[Join, ...], cgroup_fd: int, body: Callable[[], None]) -> tuple[int, int]:
    if joins:
        return joining.clone_joined(joins, flags, cgroup_fd, body)
    pid, pidfd = process.clone3(flags, cgroup_fd=cgroup_fd)
    if pid == 0:
        body()
    return pid, pidfd


def _write_maps(pid: int, linux: Linux, helpers: tuple[str, str] | None) -> None:
    uids = [(m.container_id, m.host_id, m.size) for m in linux.uid_mappings]
    gids = [(m.container_id, m.host_id, m.size) for m in linux.gid_mappings]
    try:
        write_maps(
            pid,
            uids,
            gids,
            newuidmap=helpers[0] if helpers else None,
            newgidmap=helpers[1] if helpers else None,
            # An ordinary user's own map costs the namespace its setgroups(2) (CVE-2014-8989).
            deny_setgroups=helpers is None and os.geteuid() != 0,
        )
    except OSError as error:
        hint = "an ordinary user may map its own id, and the ranges of /etc/subuid and /etc/subgid by newuidmap"
        raise errors.from_os_error(error, "write the id maps of the user namespace", hint=hint) from error


def _go(ours: socket, word: str) -> None:
    try:
        sync.send(ours, {"go": word})
    except BrokenPipeError:
        sync.expect(ours, "at", "ready")
        raise


def await_program(created: Created) -> None:
    """Wait until the program of a created and started container was executed. Raises the init's error."""
    data = os.read(created.sync, sync.LIMIT)
    if data:
        raise errors.from_json(jsontext.loads(data).get("error"))


def _await_ready(ours: socket, plan: InitPlan, pid: int, undo: Rollback) -> tuple[int | None, tuple[str, ...]]:
    console: int | None = None
    warnings: list[str] = []
    while True:
        message, fd = sync.receive(ours)
        if message is None:
            raise errors.Internal(
                "the container's init ended before it was ready",
                hint="it was killed: a memory or pids limit too small for it to start with?",
            )
        if message.get("at") == "console" and fd is not None:
            console = fd
            undo.push(os.close, fd)
        elif message.get("at") == "listener" and fd is not None:
            _hand_listener(plan, pid, fd)
        elif message.get("at") == "hooks":
            _run_hooks(plan, pid)
            _go(ours, "hooked")
        elif message.get("at") == "warning":
            warnings.append(str(message.get("text")))
        elif message.get("at") == "ready":
            timing.mark("await init")
            timing.put("init", message.get("steps"))
            return console, tuple(warnings)
        else:
            raise errors.Internal(f"out of step: {message!r}")


def _run_hooks(plan: InitPlan, pid: int) -> None:
    """P4: what the caller wants done while the namespaces stand and the root is not yet the container's."""
    from atoll.runtime import hooks

    assert plan.spec.hooks is not None
    document = _state_for_callers(plan, pid)
    hooks.run("prestart", plan.spec.hooks.prestart, document)
    hooks.run("createRuntime", plan.spec.hooks.create_runtime, document)


def _poststop_of_failed(spec: Spec, container_id: str, bundle: str) -> None:
    """A creation that failed is a container that was destroyed (runtime.md, steps 12 and 13)."""
    if spec.hooks is None or not spec.hooks.poststop:
        return
    from atoll.runtime import hooks

    document = hooks.document(
        version=spec.oci_version,
        container_id=container_id,
        status=state.STOPPED,
        pid=0,
        bundle=bundle,
        annotations=spec.annotations,
    )
    failed = hooks.run_all("poststop", spec.hooks.poststop, document)
    if failed:
        raise failed[0]  # a note on the error that ended the creation


def _state_for_callers(plan: InitPlan, pid: int) -> bytes:
    from atoll.runtime import hooks

    return hooks.document(
        version=plan.spec.oci_version,
        container_id=plan.id,
        status=state.CREATING,
        pid=pid,
        bundle=plan.bundle,
        annotations=plan.spec.annotations,
    )


def _hand_listener(plan: InitPlan, pid: int, listener: int) -> None:
    from atoll.runtime import notify

    assert plan.spec.linux is not None
    rules = plan.spec.linux.seccomp
    assert rules is not None
    try:
        notify.hand_over(
            rules.listener_path or "", rules.listener_metadata or "", _state_for_callers(plan, pid), pid, listener
        )
    finally:
        os.close(listener)


def needs_placement(proc: Process, linux: Linux | None) -> bool:
    """Whether `placement.py` is wanted, which is then loaded: the init imports nothing."""
    own = proc.scheduler or proc.io_priority
    if not own and not (linux is not None and (linux.memory_policy or linux.personality)):
        return False
    from atoll.runtime import placement  # noqa: F401 - the init must find it loaded

    return True


def _later_hooks(spec: Spec) -> Any:
    """Those that `start` and `delete` run, for the record."""
    if spec.hooks is None or not (spec.hooks.poststart or spec.hooks.poststop):
        return None
    from atoll.spec.codec import dump

    return {
        "poststart": [dump(hook) for hook in spec.hooks.poststart],
        "poststop": [dump(hook) for hook in spec.hooks.poststop],
    }


def _listener(linux: Linux) -> Any:
    """Where exec sends its own notify descriptors."""
    if linux.seccomp is None or linux.seccomp.listener_path is None:
        return None
    return [linux.seccomp.listener_path, linux.seccomp.listener_metadata or ""]


def _delete_all(made: list[Cgroup]) -> None:
    for cgroup in made:
        cgroup.delete()


def _end(pidfd: int, pid: int, made: list[Cgroup]) -> None:
    """Undo of the clone: kill, reap, close."""
    try:
        process.pidfd_send_signal(pidfd, process.SIGKILL)
    except ProcessLookupError:
        pass
    for cgroup in made:
        cgroup.kill()
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
    os.close(pidfd)


def _cgroup_mounts(
    spec: Spec, hierarchy: Hierarchy, cgroup: Cgroup, flags: int, joins: tuple[Join, ...]
) -> tuple[CgroupMount, ...]:
    if not any(entry.type == "cgroup" for entry in spec.mounts):
        return ()
    from atoll.runtime import cgroup_mounts

    own = bool(flags & process.CLONE_NEWCGROUP) or any(join.flag == process.CLONE_NEWCGROUP for join in joins)
    return cgroup_mounts.plan(hierarchy, cgroup, namespace=own)
