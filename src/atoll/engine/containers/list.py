"""ps: the containers with what they are now."""

from __future__ import annotations

from atoll.base import clock
from atoll.engine.containers.record import Record
from atoll.engine.containers.remove import remove_if_leftover
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.requests import ContainerView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow


def list_containers(engine: Engine, *, all: bool) -> list[ContainerView]:
    """Newest first. What a killed command left half made is removed on the way."""
    views = []
    for row in engine.store.containers():
        if remove_if_leftover(engine, row):
            continue
        view = view_of(engine, row)
        if all or view.state in ("running", "paused"):
            views.append(view)
    return views


def view_of(engine: Engine, row: ContainerRow) -> ContainerView:
    """One row of the list."""
    record = Record.from_text(row.record)
    status = state_of(engine, row.id)
    return ContainerView(
        id=row.id,
        name=row.name,
        image=record.image,
        image_id=row.image or "",
        command=record.args,
        created_at=clock.rfc3339(row.created_at),
        state=status.status,
        exit_code=None if is_up(status) else status.exit_code,
        started_at=status.started_at,
        finished_at=status.finished_at,
        error=status.error,
        oom_killed=status.oom_killed,
        labels=record.labels,
        network=record.network,
        mounts=tuple([mount.name or mount.source for mount in record.mounts]),
    )
