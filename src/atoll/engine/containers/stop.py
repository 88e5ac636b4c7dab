"""stop: ask containers to end, wait, then make them.

Holds: `stop` of one, `stop_all` of several at once. Does not hold: what follows an end (the monitor,
`launch.finish`).
"""

from __future__ import annotations

import time

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.containers import restarting
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.events import note as events
from atoll.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from atoll.engine.engine import Engine

_KILL_SECONDS = 10.0
_AT_ONCE_SECONDS = 0.2


class _Asked(Value):
    """A container that was asked to end: until when (monotonic seconds; None: for ever) it may take its time."""

    id: str
    name: str
    remove: bool
    deadline: float | None


def stop(
    engine: Engine,
    name: str,
    *,
    timeout: int | None,
    signum: int | None,
    warn: Callable[[str], None] | None = None,
    stays: bool = False,
) -> None:
    """Send the container's stop signal, after `timeout` seconds SIGKILL (-1: never). One that does not run is fine; a
    paused one goes on, to hear the signal. `warn` is told why it may take long. `stays`: it is not removed here, even
    if it goes with its end.

    Raises NotFound; Timeout if even SIGKILL does not end it.
    """
    asked = _ask(engine, name, timeout, signum, warn)
    if asked is not None:
        _await(engine, asked.replace(remove=False) if stays else asked)


def stop_all(
    engine: Engine,
    names: list[str],
    *,
    timeout: int | None,
    signum: int | None,
    warn: Callable[[str], None] | None = None,
) -> Iterator[tuple[str, errors.AtollError | None]]:
    """Stop several: all are asked at once, so that it takes as long as the slowest. Yields each name with what went
    wrong, in the order given."""
    asked: list[tuple[str, _Asked | None, errors.AtollError | None]] = []
    for name in names:
        try:
            asked.append((name, _ask(engine, name, timeout, signum, warn), None))
        except errors.AtollError as error:
            asked.append((name, None, error))
    for name, one, refused in asked:
        try:
            if one is not None:
                _await(engine, one)
            yield name, refused
        except errors.AtollError as error:
            yield name, error


def _ask(
    engine: Engine, name: str, timeout: int | None, signum: int | None, warn: Callable[[str], None] | None
) -> _Asked | None:
    """Send the signal; None for a container that does not run."""
    row = engine.store.container(name)
    record = Record.from_text(row.record)
    run = engine.paths.container_run(row.id)
    if record.restart != "no":
        restarting.hold(engine, row.id)
    status = state_of(engine, row.id)
    if status.status not in (RUNNING, PAUSED):
        return None
    seconds = record.stop_timeout if timeout is None else timeout
    number = signum or signal_number(record.stop_signal)
    if warn is not None and seconds != 0 and status.pid is not None and _is_deaf(status.pid, number):
        warn(
            f"{row.name}: its first process does not handle {signals.name_of(number)}"
            + (f" and will be killed after {seconds} s" if seconds > 0 else "")
            + "; run it with --init, or give it another --stop-signal"
        )
    try:
        engine.driver.signal(run, number)
        # Asked again: paused between our look and the signal, it would never hear it.
        if PAUSED in (status.status, state_of(engine, row.id).status):
            engine.driver.resume(run)
    except (errors.NotFound, errors.FailedPrecondition):
        pass  # it has ended meanwhile, or goes on already: the wait will tell
    events.container(engine, row.id, "kill", signal=str(number))
    deadline = None if seconds < 0 else time.monotonic() + seconds
    return _Asked(id=row.id, name=row.name, remove=record.remove, deadline=deadline)


def _await(engine: Engine, asked: _Asked) -> None:
    run, place = engine.paths.container_run(asked.id), engine.paths.container(asked.id)
    left = None if asked.deadline is None else max(0.0, asked.deadline - time.monotonic())
    try:
        if left == 0.0 or not engine.driver.wait(run, place, left).ended:
            engine.driver.kill_all(run)
            events.container(engine, asked.id, "kill", signal="9")
            if not _ends_at_once(engine, run, place) and not engine.driver.wait(run, place, _KILL_SECONDS).ended:
                raise errors.Timeout(
                    f"container {asked.name} does not end, even by SIGKILL", hint="see dmesg on the host"
                )
    except (errors.NotFound, errors.FailedPrecondition):
        if not engine.driver.status(run, place).ended:
            raise
    events.container(engine, asked.id, "stop")
    if asked.remove:
        # Its monitor removes it, too; whoever is first. So it is gone when this command returns.
        engine.finish(asked.id, remove=True)


def _ends_at_once(engine: Engine, run: str, place: str) -> bool:
    """Whether a killed container's end is on record within a moment: asking for it costs its monitor less than
    waiting in its company does, for which that forks."""
    until = time.monotonic() + _AT_ONCE_SECONDS
    while time.monotonic() < until:
        if engine.driver.status(run, place).ended:
            return True
        time.sleep(0.002)
    return False


def _is_deaf(pid: int, signum: int) -> bool:
    """Whether a signal does nothing to that process: the first one of a pid namespace gets only what it handles
    (pid_namespaces(7)), and anybody may ignore one."""
    from atoll.base import files

    try:
        lines = files.read_text(f"/proc/{pid}/status").splitlines()
    except OSError:
        return False
    known = dict([line.partition(":")[::2] for line in lines])
    bit = 1 << (signum - 1)
    try:
        caught, ignored = int(known["SigCgt"], 16) & bit, int(known["SigIgn"], 16) & bit
        first = known["NSpid"].split()[-1] == "1" and len(known["NSpid"].split()) > 1
    except (KeyError, ValueError, IndexError):
        return False
    return signum != signals.SIGKILL and not caught and (first or bool(ignored))


def signal_number(text: str) -> int:
    """The number of an image's stop signal. Raises InvalidArgument."""
    try:
        return signals.number_of(text)
    except ValueError:
        raise errors.InvalidArgument(f"invalid signal: {text}") from None
