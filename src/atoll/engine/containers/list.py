"""ps: the containers with what they are now."""

from __future__ import annotations

import os

from atoll.base import clock
from atoll.engine.containers.record import Record
from atoll.engine.containers.remove import remove_if_leftover
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.requests import ContainerView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow


def list_containers(
    engine: Engine, *, all: bool, filters: tuple[str, ...] = (), count: int | None = None, size: bool = False
) -> list[ContainerView]:
    """Newest first, those that run or `all`; of them those for which the `filters` (`kind=value`, `filters.py`) hold;
    at most `count`. What a killed command left half made is removed on the way. Raises InvalidArgument for a filter
    that is none."""
    from atoll.engine.containers import filters as conditions

    wanted = conditions.read(engine, filters) if filters else None
    every = all or count is not None or (wanted is not None and wanted.asks_for_ended)
    views: list[ContainerView] = []
    for row in engine.store.containers():
        if count is not None and 0 <= count <= len(views):
            break
        if remove_if_leftover(engine, row):
            continue
        record = Record.from_text(row.record)
        view = view_of(engine, row, record)
        if (every or view.state in ("running", "paused", "restarting")) and (
            wanted is None or wanted.hold(row, record, view)
        ):
            views.append(with_size(engine, row, view) if size else view)
    if every and len(os.listdir(engine.paths.containers)) != engine.store.container_count():
        from atoll.engine.system.check import mend_containers

        mend_containers(engine)  # a directory that no row names, or somebody is at work
    return views


def view_of(engine: Engine, row: ContainerRow, record: Record | None = None) -> ContainerView:
    """One row of the list."""
    record = record or Record.from_text(row.record)
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
        health=_health(engine, row.id, record),
        volumes=len([mount for mount in record.mounts if mount.type == "volume"]),
        ports=_ports(engine, row.id, record),
        pod=row.pod or "",
    )


def _ports(engine: Engine, container_id: str, record: Record) -> str:
    if record.networking is None:
        return ""
    from atoll.engine.networks import rows
    from atoll.engine.networks.inspect import ports_in_words

    return ports_in_words(rows.ports_of(engine.store, container_id), record.networking.exposed)


def _health(engine: Engine, container_id: str, record: Record) -> str | None:
    if record.health is None:
        return None
    from atoll.engine.containers import health

    found = health.known(engine, container_id, record)
    return found.status if found is not None else None


def with_size(engine: Engine, row: ContainerRow, view: ContainerView) -> ContainerView:
    """The row with what it takes on disk."""
    from atoll.engine.containers.size import sizes

    written, whole = sizes(engine, row)
    return view.replace(size=written, size_root=whole)
