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
import time

from atoll.base import errors, files, jsontext
from atoll.base.value import Value
from atoll.linux import mount, process
from atoll.monitor import runsc
from atoll.monitor.sockets import listen, receive_with_fds
from atoll.runtime import state
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.runtime.cgroups.detect import detect
from atoll.spec import runtime as oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.linux.root import Root
    from atoll.monitor.requests import Create, Exec
    from atoll.runtime.create import Created
    from atoll.spec.rootfs import RootPlan

NOTE = state.FOREIGN
PATIENCE = 120.0
"""How long a runtime's command may take; it is killed then."""
LOG_MAX = 1 << 16
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
        spec = runsc.without_filter(runsc.with_room(spec), runtime)
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
        process_of = _call(
            run,
            runtime,
            words,
            request.id,
            stdio,
            terminal=request.terminal,
            before=lambda: _prepare(spec, root, run, runtime[0]),
            meanwhile=join if ours else None,
        )
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
    _spawn(run, _line(run, argv, ("start",), record.id), None, before)
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
            return _stay(run, _line(run, argv, ("exec", *files_of), record.id), stdio, f"{name}.pid")
        words = ("exec", "--detach", *files_of)
        return _call(run, argv, words, record.id, stdio, terminal=request.terminal, pid_file=f"{name}.pid")
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
            _command(run, argv, ("delete", "--force"), os.path.basename(run))
    except (OSError, errors.AtollError):
        pass


# --- the command line -----------------------------------------------------------------------------------------------


def _line(run: str, argv: tuple[str, ...], words: tuple[str, ...], name: str) -> list[str]:
    return [*argv, "--root", f"{run}/oci", "--log", f"{run}/oci.log", "--log-format", "json", *words, name]


def _call(
    run: str,
    argv: tuple[str, ...],
    words: tuple[str, ...],
    name: str,
    stdio: tuple[int, int, int] | None,
    *,
    terminal: bool,
    pid_file: str | None = None,
    before: Callable[[], None] | None = None,
    meanwhile: Callable[[int], None] | None = None,
) -> Made:
    """A command that leaves a process behind, and that process."""
    listener = folder = -1
    door = f"{run}/console.{os.getpid()}"
    if terminal:
        listener = listen(door).detach()
        folder = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # A short name, whatever the run root is: sun_path has 107 bytes, and this one is another program's to fill.
        words = (*words, "--console-socket", f"/proc/{os.getpid()}/fd/{folder}/{os.path.basename(door)}")
    try:
        _spawn(run, _line(run, argv, words, name), stdio, before, meanwhile)
        pid = int(files.read_text(pid_file or f"{run}/init.pid"))
        console = _receive(listener) if terminal else None
    finally:
        for fd in (listener, folder):
            if fd >= 0:
                os.close(fd)
        files.unlink_if_present(door)
    return Made(pid=pid, pidfd=os.pidfd_open(pid), console=console)


def _command(run: str, argv: tuple[str, ...], words: tuple[str, ...], name: str) -> None:
    _spawn(run, _line(run, argv, words, name), None, None)


def _spawn(
    run: str,
    line: list[str],
    stdio: tuple[int, int, int] | None,
    before: Callable[[], None] | None,
    meanwhile: Callable[[int], None] | None = None,
) -> None:
    """Steps 1 to 4: fork, `before` in the fork, execute, wait. `meanwhile` is done here, with the fork's pid, which
    waits for it before it executes. Raises what went wrong."""
    deadline = time.monotonic() + PATIENCE
    pid, pidfd = _begin(run, line, stdio, deadline, before, meanwhile)
    try:
        code = _end_of(pid, pidfd, line, deadline)
    finally:
        os.close(pidfd)
    if code:
        raise _said(run, line, code)


def _stay(run: str, line: list[str], stdio: tuple[int, int, int] | None, pid_file: str) -> Made:
    """A command that stays as long as the process that it has made, and tells of it when it runs. Raises what went
    wrong."""
    os.mkfifo(pid_file, 0o600)
    told = os.open(pid_file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + PATIENCE
        pid, pidfd = _begin(run, line, stdio, deadline, stays=True)
        poller = select.poll()
        poller.register(told, select.POLLIN)
        poller.register(pidfd, select.POLLIN)
        poller.poll(PATIENCE * 1000)
        try:
            if os.read(told, 16):
                return Made(pid=pid, pidfd=pidfd)
        except BlockingIOError:  # it is about to, and its time is up
            pass
        code = _end_of(pid, pidfd, line, deadline)
        os.close(pidfd)
        raise _said(run, line, code)
    finally:
        os.close(told)


def _begin(
    run: str,
    line: list[str],
    stdio: tuple[int, int, int] | None,
    deadline: float,
    before: Callable[[], None] | None = None,
    meanwhile: Callable[[int], None] | None = None,
    *,
    stays: bool = False,
) -> tuple[int, int]:
    """Steps 1 to 3: the process that executes `line`, and its pidfd; what `stays` outlives us. Raises what went
    wrong; then there is no process."""
    files.unlink_if_present(f"{run}/oci.log")
    heard, said = os.pipe2(os.O_CLOEXEC)
    asked, go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(go)
        _become(line, stdio, before, asked, said, stays=stays)
    os.close(said)
    os.close(asked)
    pidfd, failure = os.pidfd_open(pid), None
    try:
        if meanwhile is not None:
            meanwhile(pid)
        os.write(go, b"g")
    except (OSError, errors.AtollError) as error:  # perhaps because the fork has ended, and says why
        failure = error
    finally:
        os.close(go)
    word = _until_closed(heard, deadline)
    os.close(heard)
    if not word and failure is None:
        return pid, pidfd
    try:
        _end_of(pid, pidfd, line, deadline)
    finally:
        os.close(pidfd)
    raise errors.from_json(jsontext.loads(word)) if word else failure or errors.Internal(f"{line[0]} was not run")


def _end_of(pid: int, pidfd: int, line: list[str], deadline: float) -> int:
    """Its exit code, once it has ended; it is killed when its time is up. Raises Timeout."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        process.pidfd_send_signal(pidfd, process.SIGKILL)
        os.waitpid(pid, 0)
        raise errors.Timeout(f"{line[0]} did not answer within {PATIENCE:.0f} s")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _until_closed(fd: int, deadline: float) -> bytes:
    """What the fork says before it executes; b"" when it did."""
    found = b""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        data = os.read(fd, 1 << 16)
        if not data:
            break
        found += data
    return found


def _become(
    line: list[str],
    stdio: tuple[int, int, int] | None,
    before: Callable[[], None] | None,
    asked: int,
    said: int,
    *,
    stays: bool,
) -> None:
    """Steps 2 and 3, in the fork. Does not return."""
    try:
        from _signal import SIG_DFL, SIGPIPE, signal  # type: ignore[import-not-found]

        for number in (*range(1, 9), *range(10, 19), *range(20, 32)):
            signal(number, SIG_DFL)
        signal(SIGPIPE, SIG_DFL)
        if not stays:  # nobody waits for it when the clerk was killed
            process.prctl(process.PR_SET_PDEATHSIG, process.SIGKILL)
        if before is not None:
            before()
        own = runsc.is_it(line[0])
        null = runsc.own_null() if own else os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        # Lifted first: one of the three may be what another is about to be put over.
        lifted = [os.dup(null if own and runsc.is_null(fd) else fd) for fd in (stdio or (null, null, null))]
        for number, fd in enumerate(lifted):
            os.dup2(fd, number, inheritable=True)
        if not os.read(asked, 1):
            os._exit(1)
        os.execvpe(line[0], line, {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
    except BaseException as error:  # noqa: BLE001 - nothing may return into the parent's code
        known = error if isinstance(error, errors.AtollError) else None
        if isinstance(error, OSError):
            known = errors.from_os_error(error, f"run {line[0]}")
        os.write(said, jsontext.dumps((known or errors.Internal(repr(error))).to_json()).encode())
    finally:
        os._exit(1)


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


def _said(run: str, line: list[str], code: int) -> errors.AtollError:
    """The runtime's own words as our error."""
    text = f"exit status {code}"
    try:
        with open(f"{run}/oci.log", "rb") as stream:
            lines = stream.read(LOG_MAX).splitlines()
        for one in reversed(lines):
            found = jsontext.loads(one)
            if isinstance(found, dict) and found.get("level") in ("error", "fatal", None) and "msg" in found:
                text = str(found["msg"])
                break
    except (OSError, ValueError, KeyError, TypeError):
        pass
    low = text.lower()
    message = f"{os.path.basename(line[0])}: {text}"
    program = "exec" in low or "failed to load" in low or "creating process" in low
    if "executable file not found" in low or (program and "no such file or directory" in low):
        return errors.CommandNotFound(message)
    if program and ("permission denied" in low or "not permitted" in low or "is a directory" in low):
        return errors.CommandNotExecutable(message)
    return errors.FailedPrecondition(message)


# --- the bundle -----------------------------------------------------------------------------------------------------


def _prepare(spec: oci.Spec, root: RootPlan, run: str, program: str) -> None:
    """Mount the root where the runtime will find it, and write its config.json."""
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
