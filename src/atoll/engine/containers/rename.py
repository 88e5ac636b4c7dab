"""rename: another name for a container, whatever its state."""

from __future__ import annotations

from atoll.base import errors, files, ids
from atoll.engine.events import note as events
from atoll.monitor.journal import NAME_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine


def rename(engine: Engine, name: str, new: str) -> None:
    """Give it another name. Raises NotFound; InvalidArgument for a name that cannot be, or its own; Conflict for one
    in use, in Docker's words."""
    new = new.removeprefix("/")
    if not name or not new:
        raise errors.InvalidArgument("Neither old nor new names may be empty")
    if not ids.valid_name(new):
        raise errors.InvalidArgument(f"Invalid container name ({new}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    row = engine.store.container(name)
    if row.name == new:
        raise errors.InvalidArgument("Renaming a container with the same name as its current name")

    def work(connection: Any) -> int:
        taken = connection.execute("SELECT id FROM containers WHERE name = ?", (new,)).fetchone()
        if taken is not None:
            raise errors.Conflict(
                f'Conflict. The container name "/{new}" is already in use by container "{taken[0]}".',
                hint="remove or rename that container to be able to use the name again",
            )
        return int(connection.execute("UPDATE containers SET name = ? WHERE id = ?", (new, row.id)).rowcount)

    if engine.store.write(work) == 0:
        raise errors.NotFound(f"No such container: {name}")
    files.write_atomic(f"{engine.paths.container(row.id)}/{NAME_FILE}", new)  # for its monitor's events
    _tell_networks(engine, row.id)
    events.container(engine, row.id, "rename", oldName=f"/{row.name}")


def _tell_networks(engine: Engine, container: str) -> None:
    """Its neighbours find it by the new name, and no more by the old one."""
    from atoll.engine.networks import helpers, rows

    for one in rows.of_container(engine.store, container):
        network = rows.by_id(engine.store, one.network) if one.mac else None
        if network is not None:
            helpers.tell_if_there(engine, network)
