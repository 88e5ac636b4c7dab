"""prune: remove the containers that do not run."""

from __future__ import annotations

import os
import time

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.containers.record import Record
from atoll.engine.containers.remove import remove
from atoll.engine.containers.size import sizes
from atoll.engine.containers.state import CREATED, EXITED, state_of
from atoll.engine.events import note as events
from atoll.engine.filters import goes, read_prune

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


_BEGINNING = 10.0  # seconds


class Pruned(Value):
    """The ids of the containers that were removed, and the bytes given back."""

    ids: tuple[str, ...]
    reclaimed: int


def prune(engine: Engine, filters: tuple[str, ...] = ()) -> Pruned:
    """Remove every created or ended container for which the filters hold: `until=` (made before), `label=`,
    `label!=`. One that is being started, or removed meanwhile, is passed over. Raises InvalidArgument."""
    given = read_prune(filters)
    gone, reclaimed = [], 0
    for row in engine.store.containers():
        status = state_of(engine, row.id).status
        if (
            not goes(given, row.created_at, Record.from_text(row.record).labels)
            or status not in (CREATED, EXITED)
            or (status == CREATED and _begins(engine, row.id))
        ):
            continue
        written, _ = sizes(engine, row)
        try:
            remove(engine, row.id, force=False, volumes=False)
        except (errors.Conflict, errors.NotFound):
            continue
        gone.append(row.id)
        reclaimed += written
    events.note(engine, "container", "prune", "", reclaimed=str(reclaimed))
    return Pruned(ids=tuple(gone), reclaimed=reclaimed)


def _begins(engine: Engine, container_id: str) -> bool:
    """Whether somebody is just launching it: between its processes and its start it is created, and not unused."""
    try:
        return time.time() - os.stat(engine.paths.container_run(container_id)).st_ctime < _BEGINNING
    except FileNotFoundError:
        return False
