"""pod start, pod restart."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.start import start as start_container
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.events import note
from atoll.engine.pods import rows
from atoll.engine.pods.each import each, members
from atoll.engine.pods.stop import stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def start(engine: Engine, name: str) -> str:
    """Start all containers of a pod, first the one that holds its namespaces. Those that run already are fine, as are
    those that are paused. Its id. Raises NotFound, and why one does not start, after all were tried."""
    row = rows.find(engine, name)

    def one(container: str) -> None:
        if state_of(engine, container).status in (RUNNING, PAUSED):
            return
        try:
            start_container(engine, container)
        except errors.FailedPrecondition:
            if state_of(engine, container).status != RUNNING:  # else somebody was faster
                raise

    each(row, members(engine, row), "start", one)
    note.note(engine, "pod", "start", row.id, name=row.name)
    return row.id


def restart(engine: Engine, name: str, *, timeout: int | None = None) -> str:
    """Stop all of it, and start all of it; what did not run is started, too, as Podman has it."""
    row = rows.find(engine, name)
    stop(engine, row.id, timeout=timeout)
    return start(engine, row.id)
