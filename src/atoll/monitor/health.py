"""Health checks: the monitor's timer, one look at a time, and what came of them.

Holds: `Health` (the record in the run directory, later in the bundle), `Timer` (the monitor's), `check` (one look, in
a fork of it), `look`. Does not hold: what is asked for (`HealthPlan` in `requests.py`), how it is shown (`engine`).

The rules are Docker's: a look each `interval` after the one before has ended; while the container is younger than
`start_period`, each `start_interval`, and failures do not count; `retries` failures in a row make it unhealthy. A
look that takes longer than `timeout` is killed and has failed. A paused container is not looked at. Nothing is put
into the journal but a change of the status. Without a plan a monitor has no timer at all. A container with several
checks is looked at by other rules (`probes.py`).

The timer is setitimer(2) with a handler: a monitor mostly waits in poll(2) or, while a clerk serves somebody, in
waitpid(2); it counts as CLOCK_MONOTONIC does, whatever happens to the date.
"""

from __future__ import annotations

import os
import time
from _signal import ITIMER_REAL, SIGALRM, setitimer, signal  # type: ignore[import-not-found]

from atoll.base import clock, errors, files, jsontext
from atoll.linux import process
from atoll.linux.title import set_title
from atoll.monitor import creator, journal, probes, record
from atoll.monitor.requests import Exec, HealthPlan, ProbePlan
from atoll.monitor.spawning import in_fork, spawn_aside
from atoll.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atoll.monitor.record import Charge

FILE = "health.json"
STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
RESULTS_MAX = 5
OUTPUT_MAX = 4096
CUT = "..."
SOON, LATER, NOT_YET = 10, 11, 12
"""Exit statuses of a look: the next one after `start_interval`, after `interval`, or once the program runs."""
_NOT_YET_SECONDS = 0.25


class Health(record.Record):
    """What the looks have found: the status, how many have failed in a row, the last results (as Docker's `Log`), and
    what is known of each probe."""

    status: str = STARTING
    streak: int = 0
    results: Any = ()
    probes: Any = ()


def read(place: str) -> Health | None:
    """The record in a run directory or a bundle; None if nobody has looked yet. Raises Corrupt."""
    return Health.read(f"{place}/{FILE}")


def keep(charge: Charge) -> None:
    """The container has ended: its last results go where they last. Docker calls one that has ended unhealthy."""
    if charge.health is None:
        return
    try:
        last = (read(charge.run) or Health()).replace(status=UNHEALTHY)
        files.write_atomic(f"{charge.bundle}/{FILE}", jsontext.dumps(last.to_json()))
    except (OSError, errors.AtollError):
        pass


def after(before: Health, result: dict[str, Any], plan: HealthPlan, *, young: bool) -> Health:
    """What is known after one more result. `young`: still in the start period."""
    results = [*before.results, result][-RESULTS_MAX:]
    if result["ExitCode"] == 0:
        return Health(status=HEALTHY, streak=0, results=results)
    if young and before.status == STARTING:
        return Health(status=STARTING, streak=before.streak, results=results)
    streak = before.streak + 1
    return Health(status=UNHEALTHY if streak >= plan.retries else before.status, streak=streak, results=results)


def after_probes(before: Health, plan: HealthPlan, age: int, look: Callable[[ProbePlan], dict[str, Any]]) -> Health:
    """What is known after those probes that are due in a container of this age, nanoseconds."""
    known, results = probes.turn(plan.probes, before.probes, age, look)
    healthy, streak = probes.verdict(known)
    status = STARTING if healthy is None else HEALTHY if healthy else UNHEALTHY
    return Health(status=status, streak=streak, results=[*before.results, *results][-RESULTS_MAX:], probes=known)


def has_failed(before: Health, known: Health, plan: HealthPlan) -> bool:
    """Whether something is to be done about it: each time that as many failures as it takes have come together."""
    if plan.probes:
        each = {probe.kind: probe.retries for probe in plan.probes}
        were = {one["kind"]: one["run"] for one in before.probes}
        return any(
            one["failed"] and one["run"] != were.get(one["kind"]) and one["run"] % each[one["kind"]] == 0
            for one in known.probes
        )
    return known.status == UNHEALTHY and known.streak > before.streak and known.streak % max(1, plan.retries) == 0


class Timer:
    """The monitor's: forks a look when it is time. `reaped` must be told of every child that has ended."""

    def __init__(self, plan: HealthPlan, look: Callable[[], None]) -> None:
        self.plan, self._look = plan, look
        self._child = 0
        signal(SIGALRM, self._tick)
        self._arm(0.0 if plan.probes else (plan.start_interval if plan.start_period else plan.interval) / 1e9)

    def _arm(self, seconds: float) -> None:
        setitimer(ITIMER_REAL, max(seconds, 0.001))

    def _tick(self, signum: int, frame: object) -> None:
        if self._child:
            return
        try:
            self._child = os.fork()
        except OSError:  # too many processes just now
            self._arm(1.0)
            return
        if self._child == 0:
            in_fork(self._run)

    def _run(self) -> int:
        signal(SIGALRM, 0)
        signal(17, 0)
        self._look()
        return LATER

    def reaped(self, pid: int, status: int) -> None:
        """A child has ended; if it was the look, the time until the next begins."""
        if pid != self._child:
            return
        self._child = 0
        code = os.waitstatus_to_exitcode(status)
        if code == NOT_YET:
            self._arm(_NOT_YET_SECONDS)
        else:
            self._arm((self.plan.start_interval if code == SOON else self.plan.interval) / 1e9)

    def stop(self) -> None:
        """No more looks."""
        setitimer(ITIMER_REAL, 0)


def timer(run: str) -> Timer | None:
    """The timer of the container of `run`; None where nothing is to be looked at."""
    known = record.read_monitor(run)
    if known is None or known.charge.health is None:
        return None
    charge, plan = known.charge, known.charge.health

    def look() -> None:
        set_title(b"atoll:[health] " + charge.id[:12].encode())
        process.become_subreaper()
        os._exit(check(charge, plan))

    return Timer(plan, look)


def check(charge: Charge, plan: HealthPlan) -> int:
    """One look, in a process of its own: SOON, LATER or NOT_YET."""
    started = record.read_started(charge.run)
    if started is None:
        return NOT_YET
    try:
        if state.status_of(charge.run, state.read(charge.run)) != state.RUNNING:
            return LATER  # paused, or ending
    except errors.AtollError:  # ended
        return LATER
    before = read(charge.run) or Health()
    age = record.age_ns(charge.run) or 0
    young = age < plan.start_period
    if plan.probes:
        known = after_probes(before, plan, age, lambda probe: look(charge, probe))
    else:
        known = after(before, look(charge, plan), plan, young=young)
    try:
        if record.read_started(charge.run) == started:  # else it has ended meanwhile, and this says nothing of it
            files.write_atomic(f"{charge.run}/{FILE}", jsontext.dumps(known.to_json()))
            if known.status != before.status:
                journal.note(charge.events, f"health_status: {known.status}")
            if has_failed(before, known, plan):
                spawn_aside(plan.on_failure, charge.env)
    except OSError:
        pass
    return SOON if young and known.status == STARTING else LATER


def look(charge: Charge, plan: HealthPlan | ProbePlan) -> dict[str, Any]:
    """Run the test and take its output, in Docker's shape."""
    begun = time.time_ns()
    request = Exec(id=f"health-{os.getpid()}", run=charge.run, process=plan.process)
    code, output = -1, b""
    try:
        made = creator.execute(request)
        if made.error is not None:
            raise made.error
        try:
            code, output = _attend(made.charge.pid, made.fds, plan.timeout / 1e9)
        except TimeoutError:
            output = f"Health check exceeded timeout ({_span(plan.timeout)})".encode()
    except (OSError, errors.AtollError) as error:
        output = str(error).encode()
    text = output[:OUTPUT_MAX].decode("utf-8", "replace") + (CUT if len(output) > OUTPUT_MAX else "")
    return {"Start": clock.rfc3339(begun), "End": clock.rfc3339(time.time_ns()), "ExitCode": code, "Output": text}


def _attend(pid: int, fds: dict[str, int], seconds: float) -> tuple[int, bytes]:
    """The exit code and the first bytes of what a process wrote. Raises TimeoutError after killing it."""
    from select import POLLIN, poll

    deadline = time.monotonic() + seconds
    output = b""
    poller = poll()
    for name in ("stdout", "stderr", "pidfd"):
        poller.register(fds[name], POLLIN)
    while True:
        left = deadline - time.monotonic()
        ready = poller.poll(max(0.0, left) * 1000 + 0.5)
        if not ready:
            process.pidfd_send_signal(fds["pidfd"], process.SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutError
        for fd, _ in ready:
            if fd == fds["pidfd"]:
                continue
            data = _read(fd)
            if data == b"":
                poller.unregister(fd)
            elif data and len(output) <= OUTPUT_MAX:
                output += data[: OUTPUT_MAX + 1 - len(output)]
        if [fd for fd, _ in ready] == [fds["pidfd"]]:  # all that it wrote itself has been read
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF, output


def _read(fd: int) -> bytes | None:
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return None


def _span(nanoseconds: int) -> str:
    seconds = nanoseconds / 1e9
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"
