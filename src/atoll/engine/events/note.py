"""What a command has done, noted in the journal.

Holds: `container`, `note`, `plan_of`. Does not hold: the file (`monitor/journal.py`). Nothing here raises: a journal
that cannot be written costs the event alone.
"""

from __future__ import annotations

from atoll.monitor import journal
from atoll.monitor.requests import EventPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.record import Record
    from atoll.engine.engine import Engine


def note(engine: Engine, kind: str, action: str, actor: str, **attributes: str) -> None:
    """Something happened to `actor`: the id of a container or image, the name of a volume, the id of a network."""
    try:
        journal.append(engine.paths.events, journal.message(kind, action, actor, attributes))
    except OSError:
        pass


def container(engine: Engine, container_id: str, action: str, *, name: str = "", **more: str) -> None:
    """Something happened to a container, which must have a row; `name` if it is another one by now."""
    from atoll.base import errors
    from atoll.engine.containers.record import Record

    try:
        row = engine.store.container(container_id)
        attributes = attributes_of(Record.from_text(row.record), name or row.name)
    except errors.AtollError:
        return
    note(engine, "container", action, row.id, **{**attributes, **more})


def attributes_of(record: Record, name: str) -> dict[str, str]:
    """What every event of a container says of it."""
    return {"image": record.image, "name": name, **dict(record.labels)}


def plan_of(engine: Engine, container_id: str, record: Record, name: str) -> EventPlan:
    """What a monitor needs to note its container's events itself."""
    return EventPlan(
        path=engine.paths.events,
        id=container_id,
        bundle=engine.paths.container(container_id),
        attributes=tuple(attributes_of(record, name).items()),
    )
