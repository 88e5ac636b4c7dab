"""An OCI runtime that is not ours: a container made and run by runc, crun, runsc or another, by its command line.

Holds: `create`, `start`, `execute`, `delete`, the note in the run directory by which the rest knows. Does not hold:
what a monitor does with the process (`monitor.py`), which runtimes there are (`isolation/external.py`).

    <run>/foreign.json   the runtime's command line          <run>/oci/      its own state (`--root`)
    <run>/bundle/        config.json                         <run>/rootfs/   where the root is mounted, for it alone
    <run>/exec.fifo      here an empty file: not started yet (so that our own status function is right)

    clerk, a subreaper                 a fork of it
    1 fork ──────────────────────────▶ 2 a mount namespace of its own: the root's layers, users looked up, config.json
      meanwhile the cgroup, where      3 execve `RUNTIME create`, or `run --detach` if it is to start at once, which
      the runtime need not make it       leaves the init behind: the clerk's child, as every orphan below a subreaper
    4 read its error, or the             is (prctl(2))
      runtime's log
    5 pid file, pidfd, cgroup, record

Since the record is like our own (pid, start time, cgroup), signals, pause, limits, statistics and the end are, too.
"""

from __future__ import annotations

import os
import select

from atoll.base import errors, files, jsontext
from atoll.base.value import Value
from atoll.linux import mount, process
from atoll.monitor import calling, runsc
from atoll.monitor.calling import Call
from atoll.monitor.sockets import listen, receive_with_fds
from atoll.runtime import state
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.runtime.cgroups.detect import detect
from atoll.spec import runtime as oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.linux.root import Root
    from atoll.monitor.requests import Create, Exec
    from atoll.runtime.create import Created
    from atoll.spec.rootfs import RootPlan

NOTE = state.FOREIGN
VERSION = "1.0.2"
"""What config.json says it is: runtimes refuse a later version than they know, and know these properties longer."""


class Made(Value):
    """What our own runtime's `Created` says, as far as it applies: there is no socket to the init."""

    pid: int
    pidfd: int
    console: int | None = None
    sync: int = -1


def argv_of(run: str) -> tuple[str, ...]:
    """The command line of the runtime that made the container of `run`; empty for our own. Raises Corrupt."""
    try:
        found = jsontext.loads(files.read_bytes(f"{run}/{NOTE}"))
        return tuple([str(word) for word in found])
    except FileNotFoundError:
        return ()
    except (ValueError, TypeError) as error:
        raise errors.Corrupt(f"damaged record {run}/{NOTE}: {error}") from None


def create(request: Create, stdio: tuple[int, int, int] | None, *, start: bool = False) -> Made | Created:
    """Make the container; it waits for `start`, or with `start` it runs: that is one command of the runtime's and not
    two. On failure nothing of it runs. Raises AtollError, OSError."""
    run, root = request.run, request.root
    if root is None:
        raise errors.InvalidArgument("an external runtime needs a root to mount")
    runtime, spec = request.runtime, _with_cgroup(request.spec, request.id)
    at_once, ours = start, False
    if runsc.is_it(runtime[0]):
        at_once = start and spec.hooks is None  # those may put something into its network
        runtime = runsc.with_network(request, start=at_once)
        spec = runsc.with_room(spec)
        without = runsc.without_cgroup(spec, runtime)
        runtime, ours = without or runtime, without is not None
    linux = spec.linux or oci.Linux()
    planned = Cgroup.planned(linux.cgroups_path or "", detect())
    made: list[Cgroup] = []

    def join(pid: int) -> None:
        made.append(Cgroup.create(planned.path, linux.resources or oci.Resources(), detect()))
        made[0].add(pid)

    files.write_atomic(f"{run}/{NOTE}", jsontext.dumps(list(runtime)))
    for name in ("bundle", "rootfs", "users", "oci"):
        os.mkdir(f"{run}/{name}", 0o700)
    verb = ("run", "--detach") if at_once else ("create",)
    words = (*verb, "--bundle", f"{run}/bundle", "--pid-file", f"{run}/init.pid")
    try:
        # Noted first: a clerk that is killed leaves a container that `delete` can undo.
        state.note_creating(run, planned)
        one = _call(
            run,
            runtime,
            words,
            request.id,
            stdio=stdio,
            before=lambda: _prepare(spec, root, run, runtime[0]),
            meanwhile=join if ours else None,
        )
        process_of = _making(run, one, terminal=request.terminal, pid_file=f"{run}/init.pid")
        cgroup = made[0] if made else planned.present()
        state.write(
            run,
            state.State(
                id=request.id,
                pid=process_of.pid,
                start_time=process.start_time(process_of.pid),
                boot_id=state.boot_id(),
                bundle=request.bundle,
                created=state.now(),
                oci_version=request.spec.oci_version,
                cgroup=None if cgroup.empty else cgroup.to_json(),
                rootfs=f"{run}/rootfs",
            ),
        )
        if not at_once:
            files.write_atomic(f"{run}/{state.FIFO}", "")
        os.unlink(f"{run}/{state.CREATING}")
    except BaseException:
        delete(run)
        _remove(made, planned)
        raise
    return process_of


def _remove(made: list[Cgroup], planned: Cgroup) -> None:
    """The cgroup of a creation that failed: ours with whoever is in it, the runtime's if it is empty, as it should
    be by now. Raises nothing."""
    try:
        for one in made:
            one.kill()
        (made[0] if made else planned).delete(timeout=5.0 if made else 0.0)
    except (OSError, errors.AtollError):
        pass


def start(run: str) -> None:
    """Let the program run. Raises FailedPrecondition, and what the runtime says."""
    record = state.read(run)
    if state.status_of(run, record) != state.CREATED:
        raise errors.FailedPrecondition(f"container {record.id} has been started already")
    argv = argv_of(run)
    before = runsc.before_start(record.pid) if runsc.is_it(argv[0]) else None
    calling.run(_call(run, argv, ("start",), record.id, before=before))
    files.unlink_if_present(f"{run}/{state.FIFO}")


def execute(request: Exec, stdio: tuple[int, int, int] | None) -> Made:
    """Run one more process in it. Raises AtollError, OSError."""
    run = request.run
    record = state.read(run)
    if state.status_of(run, record) != state.RUNNING:
        raise errors.FailedPrecondition(f"container {record.id} is not running")
    name = f"{run}/{os.getpid()}"
    from atoll.linux.root import Root

    with Root.open(f"{run}/users") as users:
        wanted = _identified(request.process, users)
    files.write_atomic(f"{name}.process", jsontext.dumps(oci.Spec(process=wanted).to_json()["process"]))
    argv, files_of = argv_of(run), ("--process", f"{name}.process", "--pid-file", f"{name}.pid")
    try:
        if runsc.is_it(argv[0]) and not request.terminal:
            # What it would leave behind is a second runsc, which stands for the process: the first can do that.
            one = _call(run, argv, ("exec", *files_of), record.id, stdio=stdio, stays=True)
            pid, pidfd = calling.stay(one, f"{name}.pid")
            return Made(pid=pid, pidfd=pidfd)
        one = _call(run, argv, ("exec", "--detach", *files_of), record.id, stdio=stdio)
        return _making(run, one, terminal=request.terminal, pid_file=f"{name}.pid")
    finally:
        files.unlink_if_present(f"{name}.process")
        files.unlink_if_present(f"{name}.pid")


def delete(run: str) -> None:
    """Have the runtime undo a creation that failed. Never raises for one that refuses.

    After an end nobody asks it: its state lies in our run directory, its processes are in a cgroup that we know, and
    runsc takes five seconds to find that nobody answers.
    """
    try:
        argv = argv_of(run)
        if argv:
            calling.run(_call(run, argv, ("delete", "--force"), os.path.basename(run)))
    except (OSError, errors.AtollError):
        pass


# --- the command line -----------------------------------------------------------------------------------------------


def _call(
    run: str, argv: tuple[str, ...], words: tuple[str, ...], name: str, log: str = "oci.log", **how: Any
) -> Call:
    log = f"{run}/{log}"
    line = (*argv, "--root", f"{run}/oci", "--log", log, "--log-format", "json", *words, name)
    return Call(line=line, log=log, **how)


def _making(run: str, call: Call, *, terminal: bool, pid_file: str) -> Made:
    """A command that leaves a process behind, and that process."""
    listener = folder = -1
    door = f"{run}/console.{os.getpid()}"
    if terminal:
        listener = listen(door).detach()
        folder = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # A short name, whatever the run root is: sun_path has 107 bytes, and this one is another program's to fill.
        words = ("--console-socket", f"/proc/{os.getpid()}/fd/{folder}/{os.path.basename(door)}")
        call = call.replace(line=(*call.line[:-1], *words, call.line[-1]))
    try:
        calling.run(call)
        pid = int(files.read_text(pid_file))
        console = _receive(listener) if terminal else None
    finally:
        for fd in (listener, folder):
            if fd >= 0:
                os.close(fd)
        files.unlink_if_present(door)
    return Made(pid=pid, pidfd=os.pidfd_open(pid), console=console)


def _receive(listener: int) -> int:
    """The terminal's master, which the runtime sends."""
    from atoll.monitor.sockets import accept

    poller = select.poll()
    poller.register(listener, select.POLLIN)
    if not poller.poll(10_000):
        raise errors.Unavailable("the runtime sent no terminal")
    peer = accept(listener)
    _, fds = receive_with_fds(peer, 4096, 1)
    peer.close()
    if not fds:
        raise errors.Unavailable("the runtime sent no terminal")
    return fds[0]


# --- the bundle -----------------------------------------------------------------------------------------------------


def _prepare(spec: oci.Spec, root: RootPlan, run: str, program: str) -> None:
    """Mount the root where the runtime will find it, and write its config.json. Raises AtollError, OSError."""
    from atoll.runtime import served
    from atoll.runtime.rootfs import build_root

    process.unshare(process.CLONE_NEWNS)
    mount.set_propagation("/", mount.MS_SLAVE | mount.MS_REC)
    if os.path.basename(program) == "crun" and os.path.isdir("/sys/fs/cgroup/unified"):
        mount.umount2("/sys/fs/cgroup/unified", mount.MNT_DETACH)  # crun refuses a hybrid tree
    place = os.open(f"{run}/rootfs", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    servers = served.launch(root, run)
    handle = build_root(root, f"{run}/rootfs", place, servers)
    if spec.process is not None:
        _keep_users(handle, f"{run}/users")
        spec = spec.replace(process=_identified(spec.process, handle))
    spec = spec.replace(root=oci.Root(path=f"{run}/rootfs", readonly=spec.root is not None and spec.root.readonly))
    spec = spec.replace(oci_version=VERSION)
    files.write_atomic(f"{run}/bundle/config.json", jsontext.dumps(spec.to_json()))


def _keep_users(root: Root, place: str) -> None:
    """Copy the two files by which users are known, for `execute`, which does not see the root."""
    os.mkdir(f"{place}/etc", 0o700)
    for name in ("passwd", "group"):
        try:
            files.write_atomic(f"{place}/etc/{name}", root.read(f"/etc/{name}", 8 << 20))
        except OSError:  # an image without
            continue


def _identified(wanted: oci.Process, root: Root) -> oci.Process:
    """The process with numbers for its user: other runtimes know no names."""
    from atoll.runtime.identity import resolve_user

    found = resolve_user(root, wanted.user)
    user = wanted.user.replace(
        uid=found.uid, gid=found.gid, additional_gids=found.groups, username=None, group_names=()
    )
    env = wanted.env if any(one.startswith("HOME=") for one in wanted.env) else (*wanted.env, f"HOME={found.home}")
    return wanted.replace(user=user, env=env)


def _with_cgroup(spec: oci.Spec, container_id: str) -> oci.Spec:
    """With our own choice of a cgroup where none was made, so that we know where to look."""
    from atoll.runtime.cgroups.paths import default_path

    linux = spec.linux or oci.Linux()
    return spec if linux.cgroups_path else spec.replace(linux=linux.replace(cgroups_path=default_path(container_id)))
