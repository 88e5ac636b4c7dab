"""stop: ask a container to end, wait, then make it."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

_KILL_SECONDS = 10.0


def stop(engine: Engine, name: str, *, timeout: int | None, signum: int | None) -> None:
    """Send the container's stop signal, after `timeout` seconds SIGKILL (-1: never). One that does not run is fine.

    Raises NotFound; Timeout if even SIGKILL does not end it.
    """
    row = engine.store.container(name)
    record = Record.from_text(row.record)
    run, place = engine.paths.container_run(row.id), engine.paths.container(row.id)
    status = state_of(engine, row.id)
    if status.status not in (RUNNING, PAUSED):
        return
    seconds = record.stop_timeout if timeout is None else timeout
    try:
        engine.driver.signal(run, signum or signal_number(record.stop_signal))
        if not engine.driver.wait(run, place, None if seconds < 0 else float(seconds)).ended:
            engine.driver.kill_all(run)
            if not engine.driver.wait(run, place, _KILL_SECONDS).ended:
                raise errors.Timeout(
                    f"container {row.name} does not end, even by SIGKILL", hint="see dmesg on the host"
                )
    except (errors.NotFound, errors.FailedPrecondition):
        if not engine.driver.status(run, place).ended:
            raise
    if record.remove:
        # Its monitor removes it, too; whoever is first. So it is gone when this command returns.
        engine.finish(row.id, remove=True)


def signal_number(text: str) -> int:
    """The number of an image's stop signal. Raises InvalidArgument."""
    try:
        return signals.number_of(text)
    except ValueError:
        raise errors.InvalidArgument(f"invalid signal: {text}") from None
