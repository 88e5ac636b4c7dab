"""kill: a signal to a container's first process."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers import restarting
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import PAUSED, is_up, state_of
from atoll.engine.containers.stop import signal_number
from atoll.engine.events import note as events
from atoll.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def kill(engine: Engine, name: str, signum: int) -> None:
    """Send a signal. A paused container goes on when the signal is to end it (SIGKILL, its stop signal), as in
    Docker. Raises NotFound, FailedPrecondition in Docker's words when it does not run."""
    row = engine.store.container(name)
    run = engine.paths.container_run(row.id)
    refused = errors.FailedPrecondition(f"Cannot kill container: {name}: Container {row.id} is not running")
    status = state_of(engine, row.id)
    if not is_up(status):
        raise refused
    stops = (signals.SIGKILL, signal_number(Record.from_text(row.record).stop_signal))
    if signum in stops:
        restarting.hold(engine, row.id)
    try:
        engine.driver.signal(run, signum)
    except errors.NotFound:
        raise refused from None
    events.container(engine, row.id, "kill", signal=str(signum))
    # Asked again: paused between our look and the signal, it would keep the signal until somebody lets it go on.
    if signum in stops and PAUSED in (status.status, state_of(engine, row.id).status):
        try:
            engine.driver.resume(run)
        except (errors.NotFound, errors.FailedPrecondition):
            pass  # somebody else let it go on, or it has ended: both are what was wanted
