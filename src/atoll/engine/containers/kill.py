"""kill: a signal to a container's first process."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.state import is_up, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def kill(engine: Engine, name: str, signum: int) -> None:
    """Send a signal. Raises NotFound, FailedPrecondition in Docker's words when it does not run."""
    row = engine.store.container(name)
    refused = errors.FailedPrecondition(f"Cannot kill container: {name}: Container {row.id} is not running")
    if not is_up(state_of(engine, row.id)):
        raise refused
    try:
        engine.driver.signal(engine.paths.container_run(row.id), signum)
    except errors.NotFound:
        raise refused from None
