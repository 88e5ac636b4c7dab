"""The level `container`: our own runtime, with a monitor for company.

Holds: `ContainerDriver`, and how a status is told from records and the kernel. Does not hold: the monitor
(`monitor/`), the namespaces (`runtime/`). What `run` does not need is imported where it is used.

Status, in this order: an exit record is the end; else a living init (pid, start time and boot id agree, by pidfd) is
created, running or paused; else its monitor, if alive, is about to record the end; else the end is lost.
"""

from __future__ import annotations

import os
import time

from atoll.base import errors
from atoll.base.value import fields
from atoll.isolation.protocol import (
    EXITED,
    LOST,
    Attachment,
    Availability,
    ContainerPlan,
    Driver,
    ExecPlan,
    Status,
)
from atoll.monitor import client
from atoll.monitor.protocol import CONTROL, check_monitor
from atoll.monitor.requests import Create, Exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.monitor.record import Exit
    from atoll.runtime.cgroups.cgroup import Cgroup
    from atoll.runtime.cgroups.stats import CgroupStats
    from atoll.spec.runtime import Resources

KERNEL = (5, 14)
NOTE = "machine.json"
"""In the run directory of a container that has a machine, or is in one (`guest/enter.py`)."""
SETTLE_SECONDS = 5.0
"""How long an end is waited for that a living monitor is about to record (it drains the output first)."""
MOURN_SECONDS = 0.3
"""The same for a spawner that records it in place of a dead monitor."""
_STEP = 0.005


class ContainerDriver(Driver):
    """`run_root` is where the spawner's socket lies, `data_root` tells stores apart; `spawner` is `off` to do
    without one; `door` is the module that a spawner runs commands with (`monitor/client.py`)."""

    name = "container"

    def __init__(self, run_root: str, data_root: str, *, spawner: str | None = None, door: str | None = None) -> None:
        self._run_root, self._data_root, self._spawner, self._door = run_root, data_root, spawner, door
        self._channel: client.Channel | None = None

    def probe(self) -> Availability:
        """Kernel and, for an ordinary user, user namespaces."""
        release = os.uname().release.split("-")[0].split(".")
        if tuple([int(part) for part in release[:2]]) < KERNEL:
            return Availability(ok=False, reason=f"Linux {'.'.join(release)} is older than 5.14")
        if os.geteuid() != 0:
            for switch in ("/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone"):
                if _reads(switch) == "0":
                    return Availability(ok=False, reason=f"user namespaces are switched off ({switch} is 0)")
        return Availability(ok=True)

    def prepare(self) -> None:
        """Connect: a cold spawner starts, a warm one forks, while this command goes on."""
        if self._channel is None:
            self._channel = self._connect()

    def _connect(self) -> client.Channel:
        try:
            return client.connect(self._run_root, data_root=self._data_root, mode=self._spawner, door=self._door)
        except OSError as error:
            raise errors.from_os_error(error, "reach or start the spawner") from error

    def _take_channel(self) -> client.Channel:
        channel, self._channel = self._channel, None
        return channel or self._connect()

    def create(self, plan: ContainerPlan, *, promise: bool = False, start: bool = False) -> Attachment:
        """Through a monitor."""
        if plan.machine is not None:
            from atoll.isolation.vm import jailed

            plan = jailed(plan, self._data_root)
        request = Create.of(plan, client.caller())
        return self._take_channel().create(request, promise=promise, start=start)

    def start(self, run: str) -> None:
        """Through its monitor, which alone hears whether the program was executed."""
        try:
            attachment = client.attach(run, output=False)
        except errors.NotFound:
            raise errors.FailedPrecondition("cannot start the container: its monitor has ended") from None
        try:
            attachment.start()
        finally:
            attachment.close()

    def exec(self, plan: ExecPlan) -> Attachment:
        """Through a session of its own."""
        from atoll.monitor import record

        known = record.read_monitor(plan.run)
        if known is not None:
            check_monitor(known.version)
        request = Exec(
            id=plan.id,
            run=plan.run,
            process=plan.process,
            terminal=plan.terminal,
            stdin=plan.stdin,
            detached=plan.detached,
            events=plan.events,
            caller=client.caller({}),
        )
        return self._take_channel().exec(request)

    def attach(self, run: str, *, stdin: bool = False) -> Attachment:
        """To its monitor."""
        return client.attach(run, stdin=stdin)

    def signal(self, run: str, signum: int) -> None:
        """Through the runtime: no monitor is needed."""
        from atoll.linux.process import SIGKILL
        from atoll.runtime.kill import kill

        if signum != SIGKILL or not _ends_as_asked(run):
            kill(run, signum)

    def kill_all(self, run: str) -> None:
        """SIGKILL to the cgroup."""
        from atoll.linux.process import SIGKILL
        from atoll.runtime.kill import kill

        if not _ends_as_asked(run):
            kill(run, SIGKILL, all=True)

    def pause(self, run: str) -> None:
        """By the cgroup's freezer."""
        from atoll.monitor.foreign import argv_of
        from atoll.runtime.pause import pause

        if argv := argv_of(run):
            from atoll.isolation.external import check_pause

            check_pause(argv[0])
        if os.path.exists(f"{run}/{NOTE}"):
            from atoll.isolation import vm_pod

            vm_pod.pause(run)  # its processes are in a pod's machine, perhaps: there first
        pause(run)

    def resume(self, run: str) -> None:
        """By the cgroup's freezer."""
        from atoll.runtime.pause import resume

        if os.path.exists(f"{run}/{NOTE}"):
            from atoll.isolation import vm_pod

            vm_pod.resume(run)
        resume(run)

    def update(self, run: str, resources: Resources) -> None:
        """Writes into the cgroup."""
        from atoll.runtime.cgroups.detect import detect

        if os.path.exists(f"{run}/{NOTE}"):
            from atoll.isolation import vm_pod

            if vm_pod.update(run, resources):
                return
            from atoll.isolation import vm_sizing

            resources = vm_sizing.update(run, resources)
        _cgroup(run, "change the limits of").update(resources, detect())

    def stats(self, run: str) -> CgroupStats | None:
        """As the cgroup counts it."""
        from atoll.runtime import state

        if os.path.exists(f"{run}/{NOTE}"):
            from atoll.isolation import vm_pod

            if (used := vm_pod.stats(run)) is not None:
                return used
        return None if state.read(run).cgroup is None else _cgroup(run, "look at").stats()

    def pids(self, run: str) -> list[int]:
        """Those of the cgroup, or without one those of the pid namespace, as far as they are children of its init."""
        from atoll.runtime import state

        known = state.read(run)
        if known.cgroup is not None:
            return _cgroup(run, "look at").pids()
        return _descendants(known.pid)

    def status(self, run: str, bundle: str) -> Status:
        """As the module says."""
        from atoll.monitor import record
        from atoll.runtime import state

        ended = _end(run, bundle)
        if ended is not None:
            return ended
        monitor = record.read_monitor(run)
        started = record.read_started(run)
        try:
            known = state.read(run)
        except errors.NotFound:
            known = None
        if known is not None:
            now = state.status_of(run, known)
            if now != state.STOPPED:
                if monitor is not None and not record.lives(monitor.pid, monitor.start_time):
                    self._adopt(run)
                return Status(status=now, pid=known.pid, started_at=started)
        patience = SETTLE_SECONDS if monitor is not None and monitor.alive() else MOURN_SECONDS
        found = _settle(run, bundle, 0.0 if known is None else patience)
        if found is None and known is not None and monitor is not None and monitor.boot_id == state.boot_id():
            self._adopt(run)  # which records the end, and what follows it
            found = _end(run, bundle)
        return found or _lost(known is None, started)

    def _adopt(self, run: str) -> None:
        """Have a container taken over that nobody keeps company. What comes of it is seen by whoever looks next."""
        try:
            self._connect().adopt(run)
        except (OSError, errors.AtollError):
            pass

    def wait(self, run: str, bundle: str, timeout: float | None = None) -> Status:
        """By the monitor's last word, else by the init's pidfd."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if (ended := _end(run, bundle)) is not None:
                return ended
            said: list[Status] = []
            if not _await_change(run, deadline, said):
                return self.status(run, bundle)
            if said:  # by now whoever cleans up may have removed the records
                return said[0]
            now = self.status(run, bundle)
            if now.ended:
                return now

    def delete(self, run: str, bundle: str, *, force: bool = False) -> None:
        """By the runtime; usually its monitor has done it."""
        from atoll.runtime.delete import delete

        if not os.path.isdir(run):
            return
        try:
            delete(run, force=force)
        except errors.NotFound:
            if os.path.isdir(run):
                delete(run, force=True)


def _ends_as_asked(run: str) -> bool:
    """Whether it was a machine, and has ended by its guest: what it had written is on its disk."""
    if not os.path.exists(f"{run}/{NOTE}"):
        return False
    from atoll.isolation import vm_ending

    return vm_ending.end(run)


def _cgroup(run: str, verb: str) -> Cgroup:
    from atoll.runtime import state
    from atoll.runtime.cgroups.cgroup import Cgroup

    known = state.read(run)
    if known.cgroup is None:
        raise errors.Denied(
            f"cannot {verb} container {known.id[:12]}: it has no cgroup",
            hint="delegate a cgroup subtree to this user",
        )
    return Cgroup.from_json(known.cgroup)


def _descendants(pid: int) -> list[int]:
    """The process and all below it, by /proc/PID/task/*/children (proc_pid_task_children(5))."""
    from atoll.base import files

    found = []
    waiting = [pid]
    while waiting:
        one = waiting.pop(0)
        try:
            tasks = os.listdir(f"/proc/{one}/task")
            below = " ".join([files.read_text(f"/proc/{one}/task/{task}/children") for task in tasks])
        except OSError:  # ended meanwhile
            continue
        found.append(one)
        waiting += [int(word) for word in below.split()]
    return found


def _reads(path: str) -> str | None:
    from atoll.base import files

    try:
        return files.read_text(path).strip()
    except OSError:
        return None


def _end(run: str, bundle: str) -> Status | None:
    from atoll.monitor import record

    ended: Exit | None = record.read_exit(bundle) or record.read_exit(run)
    return None if ended is None else _ending(ended)


def _ending(ended: Exit) -> Status:
    return Status(
        status=EXITED,
        exit_code=ended.code,
        signal=ended.signal,
        oom_killed=ended.oom,
        error=ended.error,
        started_at=ended.started,
        finished_at=ended.at,
    )


def _settle(run: str, bundle: str, seconds: float) -> Status | None:
    """The end, once whoever is about to record it has."""
    deadline = time.monotonic() + seconds
    while True:
        ended = _end(run, bundle)
        if ended is not None or time.monotonic() >= deadline:
            return ended
        time.sleep(_STEP)


def _lost(untraced: bool, started: str | None) -> Status:
    from atoll.monitor.record import LOST_CODE

    reason = (
        "nothing of it is left in the run directory: the machine was restarted, or its creation was interrupted"
        if untraced
        else "its monitor was killed, and the exit code with it"
    )
    return Status(status=LOST, exit_code=LOST_CODE, error=reason, started_at=started)


def _await_change(run: str, deadline: float | None, said: list[Status]) -> bool:
    """Wait until the container may have ended; False when the time is up. What its monitor says of the end is added
    to `said`."""
    import select

    from atoll.runtime import state

    poller = select.poll()
    attachment = None
    pidfd = None
    try:
        try:
            attachment = client.attach(run, output=False)
            poller.register(attachment.fileno(), select.POLLIN)
        except (errors.NotFound, errors.Unavailable, errors.Unsupported):
            try:
                pidfd = state.open_init(state.read(run))
            except errors.NotFound:
                return True
            if pidfd is None:
                return True
            poller.register(pidfd, select.POLLIN)
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not poller.poll(left):
                return False
            if attachment is None or _said_end(attachment, said):
                return True
    finally:
        if attachment is not None:
            attachment.close()
        if pidfd is not None:
            os.close(pidfd)


def _said_end(attachment: client.Attachment, said: list[Status]) -> bool:
    from atoll.base import jsontext
    from atoll.monitor.record import Exit

    for stream, payload in attachment.receive():
        if stream == CONTROL and b'"is":"exit"' in payload:
            told = jsontext.loads(payload)
            said.append(_ending(Exit(**{name: told[name] for name in fields(Exit) if name in told})))
    return bool(said) or attachment.ended
