"""exec: one more process in a running container.

Holds: `exec_process`. Does not hold: its streams and its record (`monitor`).

Two clones: the first process enters the namespaces, the second is cloned inside them with CLONE_PARENT, so that it is
in the pid namespace and still the caller's child. Neither is dumpable once inside, and what they execute is looked
up inside, as the container's user, so a container that swaps its binaries or traces newcomers gains nothing
(CVE-2016-9962, CVE-2019-5736).

    P creator                          E entering process                  C newcomer
    X1 clone3 into the cgroup      ──► X2 joins namespaces by the pidfd
    X4 takes C's pidfd             ◄── X3 clone3 with CLONE_PARENT    ──►  X5 waits for P: E and C share one end of
       {"go": "known"}                                                ──►  the socket; then C5 on, as in `sync.py`
"""

from __future__ import annotations

import errno
import os

from atoll.base import errors, files
from atoll.base.rollback import Rollback
from atoll.linux import process
from atoll.runtime import init, rights, state, sync
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.runtime.conversation import await_ready
from atoll.runtime.plan import Created, InitPlan
from atoll.runtime.prepare import needs_placement
from atoll.runtime.validate import validate_process
from atoll.spec.runtime import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import NoReturn

    from atoll.spec.runtime import Process

_KINDS = {
    "mnt": process.CLONE_NEWNS,
    "pid": process.CLONE_NEWPID,
    "net": process.CLONE_NEWNET,
    "ipc": process.CLONE_NEWIPC,
    "uts": process.CLONE_NEWUTS,
    "user": process.CLONE_NEWUSER,
    "cgroup": process.CLONE_NEWCGROUP,
    "time": process.CLONE_NEWTIME,
}


def exec_process(
    *,
    run: str,
    process_spec: Process,
    stdio: tuple[int, int, int] | None = None,
    terminal: bool = False,
    ignore_paused: bool = False,
    preserve_fds: int = 0,
    below: str = "",
    stands: bool = False,
) -> Created:
    """Run `process_spec` in the container of `run`. It executes at once: `sync` of the result is read as for create.

    The filter is the container's own; the program gets `preserve_fds` descriptors from 3 on; `below` names a cgroup
    inside the container's; `stands` is `InitPlan`'s. Raises NotFound, FailedPrecondition (not running, or paused), or
    the error of the newcomer's set-up.
    """
    validate_process(process_spec)
    record = state.read(run)
    _check_state(run, record, ignore_paused=ignore_paused)
    with Rollback() as undo:
        target = state.open_init(record)
        if target is None:
            raise errors.FailedPrecondition(f"container {record.id} is not running")
        undo.push(os.close, target)
        filtered = record.seccomp_flags is not None
        program = files.read_bytes(f"{run}/{state.FILTER}") if filtered else None
        ours, theirs = sync.pair()
        undo.push(ours.close)
        plan = InitPlan(
            spec=Spec(),
            process=process_spec.replace(
                terminal=terminal or process_spec.terminal, oom_score_adj=_oom_score(process_spec, record.pid)
            ),
            root=None,
            bundle=record.bundle,
            run=run,
            new_namespaces=_foreign_namespaces(record.pid),
            user_namespace=record.user_namespace,
            placed=needs_placement(process_spec, None),
            seccomp=program,
            seccomp_flags=record.seccomp_flags or 0,
            stdio=stdio,
            preserve_fds=preserve_fds,
            keyring=f"_ses.{record.id[:32]}",
            stands=stands,
        )
        cgroup = Cgroup.from_json(record.cgroup) if record.cgroup is not None else None
        helper, helper_fd = _enter_cgroup(cgroup)  # X1
        if helper == 0:
            ours.close()
            _enter(plan, target, theirs)
        theirs.close()
        undo.push(_reap, helper)
        undo.push(os.close, helper_fd)
        affinity = process_spec.exec_cpu_affinity
        if affinity is not None:
            _set_affinity(helper, affinity.initial, "initial")
        if cgroup is not None:
            cgroup.add(helper, below=below, beside=record.pid)
        if record.intel_rdt is not None:
            from atoll.runtime import resctrl

            resctrl.join(record.intel_rdt["tasks"], helper)
        if affinity is not None:
            _set_affinity(helper, affinity.final, "final")
        sync.send(ours, {"go": "mapped"})
        pidfd, pid = _newcomer(ours, helper_fd)  # X4
        undo.push(_end, pidfd)
        sync.send(ours, {"go": "known"})
        heard = await_ready(ours, undo, listener=lambda fd: _hand_listener(record, pid, fd))
        _reap(helper)
        os.close(helper_fd)
        os.close(target)
        undo.release()
    return Created(pid=pid, pidfd=pidfd, sync=ours.detach(), console=heard.console, warnings=tuple(heard.warnings))


def _check_state(run: str, record: state.State, *, ignore_paused: bool) -> None:
    status = state.status_of(run, record)
    if status == state.PAUSED and not ignore_paused:
        raise errors.FailedPrecondition(f"container {record.id} is paused", hint="unpause it first")
    if status not in (state.RUNNING, state.PAUSED):
        raise errors.FailedPrecondition(f"container {record.id} is not running: it is {status}")


def _foreign_namespaces(pid: int) -> int:
    """The kinds in which the container's differ from ours: to enter one that is shared takes rights over it, which
    an ordinary user does not have over the host's."""
    kinds = 0
    for name, flag in _KINDS.items():
        try:
            theirs, ours = os.stat(f"/proc/{pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}")
        except FileNotFoundError:  # a kernel without this kind; a container that has just ended is noticed at setns
            continue
        if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            kinds |= flag
    return kinds


def _enter_cgroup(cgroup: Cgroup | None) -> tuple[int, int]:
    directory = cgroup.open_dir() if cgroup is not None else None
    try:
        if directory is not None:
            try:
                return process.clone3(0, cgroup_fd=directory)
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.E2BIG, errno.EINVAL, errno.EBUSY):
                    raise
        return process.clone3(0)
    finally:
        if directory is not None:
            os.close(directory)


def _enter(plan: InitPlan, target: int, end: socket) -> NoReturn:
    """X2 and X3, in the entering process."""
    try:
        sync.expect(end, "go", "mapped")
        rights.set_oom_score(plan.process)  # the newcomer inherits it
        process.prctl(process.PR_SET_DUMPABLE, 0)
        # All at once: the kernel takes the user namespace first, which gives the rights over the others.
        process.setns(target, plan.new_namespaces, "the container's namespaces")
        os.close(target)
        pid, pidfd = process.clone3(process.CLONE_PARENT)
        if pid == 0:
            # X5. A word of ours that overtook X3 would be out of step, and an end of ours leave an unknown zombie.
            sync.expect(end, "go", "known")
            init.enter(plan, end)
        sync.send(end, {"at": "cloned"}, pidfd)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - a clone must never return into its parent's code
        try:
            sync.send(end, {"error": init.as_atoll_error(error).to_json()})
        except OSError:
            pass
    finally:
        os._exit(125)


def _newcomer(ours: socket, helper_fd: int) -> tuple[int, int]:
    """The newcomer's pidfd and its pid as seen from here (the number it has inside is another)."""
    import select

    # Killed between X3 and its word, the entering process leaves a newcomer that waits for us with the socket open.
    poller = select.poll()
    poller.register(ours, select.POLLIN)
    poller.register(helper_fd, select.POLLIN)
    if ours.fileno() not in dict(poller.poll()):
        raise errors.Internal("the process that enters the container was killed")
    message, pidfd = sync.receive(ours)
    if message is None or pidfd is None or message.get("at") != "cloned":
        raise errors.Internal(f"out of step: {message!r}")
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        for line in file:
            if line.startswith("Pid:"):
                return pidfd, int(line.split()[1])
    raise errors.Internal("the new process's pid cannot be read")


def _oom_score(asked: Process, main: int) -> int | None:
    """What was asked for; else the container's own where it is above ours: no newcomer hides from the OOM killer."""
    if asked.oom_score_adj is not None:
        return asked.oom_score_adj
    try:
        theirs, ours = (int(files.read_text(f"/proc/{pid}/oom_score_adj")) for pid in (main, os.getpid()))
    except (OSError, ValueError):
        return None
    return theirs if theirs > ours else None


def _set_affinity(pid: int, text: str | None, name: str) -> None:
    """`process.execCPUAffinity`: the newcomer inherits the entering process's."""
    if text is None:
        return
    from atoll.runtime.placement import parse_list

    try:
        os.sched_setaffinity(pid, parse_list(text, f"process.execCPUAffinity.{name}"))
    except OSError as error:
        raise errors.from_os_error(error, f"set process.execCPUAffinity.{name} to {text}") from error


def _hand_listener(record: state.State, pid: int, listener: int) -> None:
    from atoll.runtime import hooks, notify

    path, metadata = record.listener
    notify.hand_over(path, metadata, hooks.of_record(record, state.RUNNING), pid, listener)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def _end(pidfd: int) -> None:
    try:
        process.pidfd_send_signal(pidfd, process.SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except (ProcessLookupError, ChildProcessError):
        pass
    os.close(pidfd)
