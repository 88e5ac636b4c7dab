"""create: from a spec to a container that waits just before execve. The creator's side; `init.py` is the other.

Holds: `create`, flat and numbered as in `sync.py`. Does not hold: how a single step is done (`prepare.py`,
`joining.py`, `cloning.py`, `conversation.py`), starting it (`start.py`), waiting, streams.
The caller is single-threaded, sealed (`seal.py`) and the child's reaper; nothing is left behind on failure.
"""

from __future__ import annotations

import os

from atoll.base import files, timing
from atoll.base.rollback import Rollback
from atoll.linux import process
from atoll.linux.userns import in_initial
from atoll.runtime import cloning, init, joining, prepare, seccomp, state, sync
from atoll.runtime import early as early_init
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.runtime.cgroups.detect import detect
from atoll.runtime.cgroups.paths import default_path
from atoll.runtime.conversation import await_program, await_ready, go
from atoll.runtime.plan import Created, InitPlan
from atoll.runtime.validate import validate
from atoll.spec.runtime import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from atoll.linux.netlink import Netlink
    from atoll.runtime.early import Early
    from atoll.spec.rootfs import RootPlan
    from atoll.spec.runtime import Spec

__all__ = ["Created", "await_program", "create"]


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
    stands: bool = False,
    cloned: Callable[[int], None] | None = None,
    recorded: Callable[[int, Rollback], None] | None = None,
    early: Early | None = None,
) -> Created:
    """Create a container in the run directory `run` (made by the caller, mode 0700, empty).

    `root` is how to mount the root (None: bind `root.path` of the spec, relative to `bundle`). `cache` is where
    compiled filters are kept, `helpers` the programs newuidmap and newgidmap. With `start` the program is executed
    at once instead of waiting for `start.start`. The program gets `preserve_fds` descriptors from 3 on, a session
    keyring of its own with `keyring`, its root by pivot_root(2), or without `pivot` by moving the mount.
    `early` is an init that waits already and has been told of the request: it is used where it fits, or let go.
    `rootless`: do without cgroups that may not be made; None to find out. `cloned` is called with the pid of the init
    while an ordinary user can still open its namespaces: later it is not dumpable. `recorded` is called with it once
    the state is written, beside the init's mounts: what it makes it registers to be undone. `stands`: `InitPlan`'s.
    Raises AtollError, or what `recorded` raises; then the cgroup, the process and the files in `run` are gone.
    """
    validate(spec, has_root=root is not None)
    linux, proc = spec.linux, spec.process
    assert linux is not None
    assert proc is not None
    terminal = terminal or proc.terminal
    initial = in_initial()
    if rootless is None:
        rootless = os.geteuid() != 0 or not initial
    with Rollback() as undo:
        if early is not None:
            undo.push(early.let_go)
        # What can be known before the clone is found out before it.
        flags, joins = joining.open_namespaces(linux.namespaces, undo)
        own_mounts = any(namespace.type == "mount" for namespace in linux.namespaces)
        own_user_namespace = bool(flags & process.CLONE_NEWUSER)
        user_namespace = own_user_namespace or any(join.flag == process.CLONE_NEWUSER for join in joins)
        program = seccomp.cached(linux.seccomp, cache) if linux.seccomp and cache else None
        if linux.seccomp and program is None:
            program = seccomp.compile(linux.seccomp)
        prepare.load_for_init(spec)
        trees = prepare.mapped_trees(spec, linux, bundle, undo)
        placed = prepare.needs_placement(proc, linux)
        fifo = -1 if start else prepare.make_fifo(run, undo)
        hierarchy = detect()
        scope = prepare.scope_of(spec, container_id, user=rootless) if systemd else None
        # Below our own, as runc does, if nobody says where.
        path = scope.path if scope else linux.cgroups_path or default_path(container_id, rootless=True)

        # P0. What is made below is noted first: a creator that is killed leaves a container that `delete` can undo.
        undo.push(files.unlink_if_present, f"{run}/{state.CREATING}")
        planned = Cgroup.planned(path, hierarchy, scope)
        state.note_creating(run, planned)
        undo.push(_poststop_of_failed, spec, container_id, bundle)
        # On cgroup v1 making and joining ten hierarchies takes as long as half the mounts: the init begins with those
        # meanwhile. On v2 it is cloned into its cgroup, and where a limit may be refused nothing is begun before.
        # systemd wants the process to make the cgroup.
        quick = bool(hierarchy.v1) and bool(flags & process.CLONE_NEWCGROUP) and not (rootless or joins)
        meanwhile = quick or scope is not None
        made: list[Cgroup] = []
        undo.push(_delete_all, made)
        if not meanwhile:
            made.append(Cgroup.create(path, linux.resources or Resources(), hierarchy, rootless=rootless))
        timing.mark("filter, cgroup")
        root_plan, mounts = root if root is not None else prepare.root_of(spec, bundle), spec.mounts
        held: list[int] = []
        if user_namespace and linux.uid_mappings and own_mounts and not rootless:
            root_plan = prepare.mapped_root(root_plan, linux, run, held)
            root_plan, mounts = prepare.pinned(root_plan, mounts, bundle, held, undo)
        lines = prepare.lines_to_servers(root_plan, undo)
        plan = InitPlan(
            spec=spec.replace(mounts=mounts),
            process=proc.replace(terminal=terminal),
            root=root_plan,
            held=tuple(held),
            open_sources=rootless and user_namespace and prepare.is_stranger(linux),
            bundle=bundle,
            run=run,
            new_namespaces=flags,
            user_namespace=user_namespace,
            mount_namespace=own_mounts,
            id=container_id,
            cgroup_mounts=prepare.cgroup_mounts_of(spec, hierarchy, made[0] if made else planned, flags, joins),
            seccomp=program,
            seccomp_flags=seccomp.install_flags(linux.seccomp) if linux.seccomp else 0,
            fifo=fifo,
            stdio=stdio,
            preserve_fds=preserve_fds,
            keyring=f"_ses.{container_id[:32]}" if keyring else None,
            pivot=pivot,
            trees=trees,
            servers=lines.ends if lines else (),
            placed=placed,
            bound_devices=user_namespace or not initial,
            stands=stands,
        )

        # P1. The cgroup and time namespaces are unshared later (C2): the one when the process is in its cgroup, the
        # other with its offsets.
        later = process.CLONE_NEWCGROUP | process.CLONE_NEWTIME
        into = made[0] if made else None
        if early is not None and early.waits and not (joins or rootless or scope) and early_init.fits(plan):
            ours, pid, pidfd = early.take(), early.pid, early.pidfd
            undo.push(ours.close)
        else:
            if early is not None:
                early.let_go()
                early = None
            ours, theirs = sync.pair()
            undo.push(ours.close)
            pid, pidfd = cloning.clone(flags & ~later, joins, into, lambda: _become_init(ours, theirs, plan))
            theirs.close()
        timing.mark("clone")
        undo.push(cloning.end, pidfd, pid, made)
        if early is not None:
            early_init.hand(ours, plan)
        prepare.close_all(held)

        # P2
        if cloned is not None:
            cloned(pid)
        if own_user_namespace:
            cloning.map_ids(pid, linux, helpers)
        if lines is not None:
            prepare.launch_servers(lines, run, pid if user_namespace else 0)

        # An ordinary user may move only a process of their own uid, which the mapped init soon has no more.
        if scope is not None:
            prepare.start_scope(scope, pid, container_id, spec, hierarchy, undo)
        elif not meanwhile:
            made[0].add(pid)

        # P3. If the init died already, its own error is in the socket and says more than EPIPE would.
        go(ours, "mapped")
        if meanwhile:
            resources = linux.resources or Resources()
            made.append(
                Cgroup.create(path, resources, hierarchy, rootless=rootless, scope=scope, holder=pid if scope else 0)
            )
            made[0].add(pid, unified=scope is None or not scope.holds_process)
        cgroup = made[0]
        if own_user_namespace and not rootless:
            prepare.hand_over(cgroup, spec, hierarchy, flags)
        routes: tuple[Netlink, ...] = ()
        if linux.net_devices:  # the creator's: a process inside could not reach what lies outside
            from atoll.runtime import netdevices

            routes = netdevices.move_all(linux, pid, undo)
        classes = None
        if linux.intel_rdt is not None:
            from atoll.runtime import resctrl

            classes = resctrl.apply(linux.intel_rdt, container_id, pid, undo)
        timing.mark("id maps, cgroup")
        go(ours, "joined")
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
                hooks=prepare.later_hooks(spec),
                listener=prepare.listener_of(linux),
                intel_rdt=classes,
            ),
        )
        undo.push(os.unlink, f"{run}/{state.FILE}")
        if recorded is not None:
            recorded(pid, undo)
        timing.mark("record")

        # P4, P5
        heard = await_ready(
            ours, undo, listener=lambda fd: _hand_listener(plan, pid, fd), hooks=lambda: _run_hooks(plan, pid)
        )
        os.unlink(f"{run}/{state.CREATING}")
        go(ours, "recorded")
        if fifo >= 0:
            os.close(fifo)
        for fd in [*[join.fd for join in joins], *[fd for _, fd in trees]]:
            os.close(fd)
        for route in routes:
            route.close()
        undo.release()
    return Created(pid=pid, pidfd=pidfd, sync=ours.detach(), console=heard.console, warnings=tuple(heard.warnings))


def _become_init(ours: socket, theirs: socket, plan: InitPlan) -> None:
    ours.close()
    init.run(plan, theirs)


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
    state_of = _state_for_callers(plan, pid)
    notify.hand_over(rules.listener_path or "", rules.listener_metadata or "", state_of, pid, listener)


def _delete_all(made: list[Cgroup]) -> None:
    for cgroup in made:
        cgroup.delete()
