"""create: from a spec to a container that waits just before execve. The creator's side; `init.py` is the other.

Holds: `create`, flat and numbered as in `sync.py`. Does not hold: starting it (`start.py`), waiting, streams.
The caller is single-threaded, sealed (`seal.py`) and the child's reaper; nothing is left behind on failure.
"""

from __future__ import annotations

import errno
import os

from atoll.base import errors, files
from atoll.base.rollback import Rollback
from atoll.base.value import Value
from atoll.linux import process
from atoll.linux.userns import write_maps
from atoll.runtime import cgroups, init, seccomp, state, sync
from atoll.runtime.plan import CgroupMount, InitPlan, Join
from atoll.runtime.validate import validate
from atoll.spec.rootfs import Bind, RootPlan
from atoll.spec.runtime import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from atoll.runtime.cgroups import Cgroup, Hierarchy
    from atoll.spec.runtime import Linux, Spec

_NAMESPACES = {
    "mount": process.CLONE_NEWNS,
    "pid": process.CLONE_NEWPID,
    "network": process.CLONE_NEWNET,
    "ipc": process.CLONE_NEWIPC,
    "uts": process.CLONE_NEWUTS,
    "user": process.CLONE_NEWUSER,
    "cgroup": process.CLONE_NEWCGROUP,
    "time": process.CLONE_NEWTIME,
}
_SECCOMP_CACHE = "seccomp"


class Created(Value):
    """A container that was created. All descriptors belong to the caller.

    `sync` becomes readable after the start: end of file says that the program was executed, otherwise there is one
    JSON error and the init exits with 125, 126 or 127. `console` is the terminal's master, if one was asked for.
    """

    pid: int
    pidfd: int
    sync: int
    console: int | None = None


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
) -> Created:
    """Create a container in the run directory `run` (made by the caller, mode 0700, empty).

    `root` is how to mount the root (None: bind `root.path` of the spec, relative to `bundle`). `cache` is where
    compiled filters are kept, `helpers` the programs newuidmap and newgidmap. With `start` the program is executed
    at once instead of waiting for `start.start`. Raises AtollError; then the cgroup, the process and the files in
    `run` are gone.
    """
    validate(spec, has_root=root is not None)
    linux, proc = spec.linux, spec.process
    assert linux is not None
    assert proc is not None
    terminal = terminal or proc.terminal
    with Rollback() as undo:
        # What can be known before the clone is found out before it.
        flags, joins = _namespaces(linux, undo)
        user_namespace = bool(flags & process.CLONE_NEWUSER)
        program = seccomp.cached(linux.seccomp, cache) if linux.seccomp and cache else None
        if linux.seccomp and program is None:
            program = seccomp.compile(linux.seccomp)
        fifo = -1 if start else _make_fifo(run, undo)
        hierarchy = cgroups.detect()
        cgroup = _create_cgroup(container_id, linux, hierarchy, rootless=os.geteuid() != 0)
        if cgroup is not None:
            undo.push(cgroup.delete)
        ours, theirs = sync.pair()
        undo.push(ours.close)
        plan = InitPlan(
            spec=spec,
            process=proc.replace(terminal=terminal),
            root=root if root is not None else _root_of(spec, bundle),
            bundle=bundle,
            run=run,
            new_namespaces=flags,
            user_namespace=user_namespace,
            joins=joins,
            cgroup_mounts=_cgroup_mounts(spec, hierarchy, cgroup, flags),
            seccomp=program,
            seccomp_flags=seccomp.install_flags(linux.seccomp) if linux.seccomp else 0,
            fifo=fifo,
            stdio=stdio,
            keyring=f"_ses.{container_id[:32]}",
        )

        # P1. The cgroup namespace is unshared later, when the process is in its cgroup (C2).
        pid, pidfd = _clone(flags & ~process.CLONE_NEWCGROUP, cgroup)
        if pid == 0:
            ours.close()
            init.run(plan, theirs)
        theirs.close()
        undo.push(_end, pidfd, pid, cgroup)

        # P2
        if cgroup is not None:
            cgroup.add(pid)
        if user_namespace:
            _write_maps(pid, linux, helpers)

        # P3. If the init died already, its own error is in the socket and says more than EPIPE would.
        _go(ours, "mapped")

        # P5
        console = _await_ready(ours, undo)
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
                cgroup=cgroup.to_json() if cgroup is not None else None,
                rootless=os.geteuid() != 0,
                user_namespace=user_namespace,
                annotations=spec.annotations,
                seccomp_flags=plan.seccomp_flags if program is not None else None,
            ),
        )
        if fifo >= 0:
            os.close(fifo)
        for join in joins:
            os.close(join.fd)
        undo.release()
    return Created(pid=pid, pidfd=pidfd, sync=ours.detach(), console=console)


def _namespaces(linux: Linux, undo: Rollback) -> tuple[int, tuple[Join, ...]]:
    flags, joins = 0, []
    for namespace in linux.namespaces:
        flag = _NAMESPACES[namespace.type]
        if namespace.path is None:
            flags |= flag
            continue
        try:
            fd = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.from_os_error(error, f"open the {namespace.type} namespace") from error
        undo.push(os.close, fd)
        joins.append(Join(fd=fd, flag=flag, subject=namespace.path))
    return flags, tuple(joins)


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


def _create_cgroup(container_id: str, linux: Linux, hierarchy: Hierarchy, *, rootless: bool) -> Cgroup | None:
    path = linux.cgroups_path or f"/atoll/{container_id}"
    return cgroups.Cgroup.create(path, linux.resources or Resources(), hierarchy, rootless=rootless)


def _root_of(spec: Spec, bundle: str) -> RootPlan:
    assert spec.root is not None
    path = os.path.join(bundle, spec.root.path)
    if not os.path.isdir(path):
        raise errors.NotFound(f"root.path: no directory {path}")
    return RootPlan(steps=(Bind(source=path, target="/"),))


def _clone(flags: int, cgroup: Cgroup | None) -> tuple[int, int]:
    directory = cgroup.open_dir() if cgroup is not None else None
    try:
        return process.clone3(flags, cgroup_fd=-1 if directory is None else directory)
    except OSError as error:
        if directory is not None and error.errno in (errno.ENOSYS, errno.E2BIG, errno.EINVAL):
            return process.clone3(flags)  # before Linux 5.7; `add` moves it then
        hint = None
        if error.errno in (errno.EPERM, errno.ENOSPC, errno.EUSERS) and flags & process.CLONE_NEWUSER:
            hint = "user namespaces may be limited here: see /proc/sys/user/max_user_namespaces and 'atoll info'"
        raise errors.from_os_error(error, "create the container's namespaces", hint=hint) from error
    finally:
        if directory is not None:
            os.close(directory)


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


def _await_ready(ours: socket, undo: Rollback) -> int | None:
    console: int | None = None
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
        elif message.get("at") == "ready":
            return console
        else:
            raise errors.Internal(f"out of step: {message!r}")


def _end(pidfd: int, pid: int, cgroup: Cgroup | None) -> None:
    """Undo of the clone: kill, reap, close."""
    try:
        process.pidfd_send_signal(pidfd, process.SIGKILL)
    except ProcessLookupError:
        pass
    if cgroup is not None:
        cgroup.kill()
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
    os.close(pidfd)


def _cgroup_mounts(spec: Spec, hierarchy: Hierarchy, cgroup: Cgroup | None, flags: int) -> tuple[CgroupMount, ...]:
    if not any(entry.type == "cgroup" for entry in spec.mounts):
        return ()
    return cgroups.mounts(hierarchy, cgroup, namespace=bool(flags & process.CLONE_NEWCGROUP))
