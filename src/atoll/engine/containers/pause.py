"""pause: all processes of a container stand still, where they are."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.events import note as events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def pause(engine: Engine, name: str) -> None:
    """Pause it; returns when all of it stands still. Raises NotFound, FailedPrecondition in Docker's words, and why
    this host cannot."""
    row = engine.store.container(name)
    status = state_of(engine, row.id).status
    if status == PAUSED:
        raise errors.FailedPrecondition(f"Container {row.id} is already paused")
    if status != RUNNING:
        raise errors.FailedPrecondition(f"Container {row.id} is not running")
    engine.driver.pause(engine.paths.container_run(row.id))
    events.container(engine, row.id, "pause")
