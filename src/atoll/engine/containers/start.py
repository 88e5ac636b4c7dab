"""start: a container that was created, or has ended, gets its processes.

Holds: `start`, `start_attached`. Does not hold: making them (`launch.py`), the streams' way to the user (`cli`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.attach import Attached, attached_to
from atoll.engine.containers.launch import launch, launch_detached
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import PAUSED, RUNNING, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def start(engine: Engine, name: str) -> None:
    """Start it and leave it to itself. One that runs already is fine.

    Raises NotFound, FailedPrecondition for a paused one, and why its program does not run.
    """
    row = engine.store.container(name)
    if not _may_start(engine, row.id):
        return
    launch_detached(engine, row.id)


def start_attached(engine: Engine, name: str) -> Attached:
    """Start it with the caller attached from the first byte on; to one that runs already the caller is attached.

    The caller is to `finish` it (`Attached.promised`). Raises as `start`; why the program does not run may also come
    as a control frame.
    """
    row = engine.store.container(name)
    if not _may_start(engine, row.id):
        return attached_to(engine, row, stdin=True)
    record = Record.from_text(row.record)
    attachment = launch(engine, row.id, promise=record.remove, start=True)
    return Attached.to(row.id, record, attachment, promised=record.remove)


def _may_start(engine: Engine, container_id: str) -> bool:
    status = state_of(engine, container_id).status
    if status == PAUSED:
        raise errors.FailedPrecondition("cannot start a paused container, try unpause instead")
    return status != RUNNING
