"""pod pause, pod unpause: every container of a pod that is running, or paused."""

from __future__ import annotations

from atoll.engine.containers.pause import pause as pause_container
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.containers.unpause import unpause as unpause_container
from atoll.engine.events import note
from atoll.engine.pods import rows
from atoll.engine.pods.each import each, members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def pause(engine: Engine, name: str) -> str:
    """Let all that runs stand still. Its id. Raises NotFound, and why one cannot be paused."""
    row = rows.find(engine, name)
    # What holds the namespaces is last: it may be the machine that the others are in.
    there = [one for one in reversed(members(engine, row)) if state_of(engine, one.id).status == RUNNING]
    each(row, there, "pause", lambda container: pause_container(engine, container))
    note.note(engine, "pod", "pause", row.id, name=row.name)
    return row.id


def unpause(engine: Engine, name: str) -> str:
    """Let all that is paused go on. Its id. Raises NotFound."""
    row = rows.find(engine, name)
    there = [one for one in members(engine, row) if state_of(engine, one.id).status == PAUSED]
    each(row, there, "unpause", lambda container: unpause_container(engine, container))
    note.note(engine, "pod", "unpause", row.id, name=row.name)
    return row.id
