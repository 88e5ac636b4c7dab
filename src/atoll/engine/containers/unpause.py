"""unpause: a paused container goes on."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.state import PAUSED, state_of
from atoll.engine.events import note as events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def unpause(engine: Engine, name: str) -> None:
    """Let it go on. Raises NotFound, FailedPrecondition in Docker's words for one that is not paused."""
    row = engine.store.container(name)
    if state_of(engine, row.id).status != PAUSED:
        raise errors.FailedPrecondition(f"Container {row.id} is not paused")
    engine.driver.resume(engine.paths.container_run(row.id))
    events.container(engine, row.id, "unpause")
