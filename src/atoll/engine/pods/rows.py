"""The pods in the store, and their directories, which are their locks.

Holds: `every`, `find`, `by_id`, `add`, `change`, `remove`, `directory`, `is_whole`, `infra_of`. Does not hold: what
becomes of one that a killed command left (`remove.mend`), which `find` calls on the way.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.engine.containers.record import Record
from atoll.engine.pods.record import PodRecord, PodRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow, Store

MADE = "made"
_QUERY = "SELECT id, name, created_at, record FROM pods"


def directory(engine: Engine, pod: str) -> str:
    """The durable directory of a pod."""
    return f"{engine.paths.data}/pods/{pod}"


def is_whole(engine: Engine, pod: str) -> bool:
    """Whether the pod was made to the end, and nobody has begun to remove it."""
    return os.path.exists(f"{directory(engine, pod)}/{MADE}")


def every(store: Store) -> list[PodRow]:
    """All, newest first."""
    return [_row(one) for one in store.read(f"{_QUERY} ORDER BY created_at DESC, id")]


def by_id(store: Store, pod: str) -> PodRow | None:
    """By its full id."""
    found = store.read(f"{_QUERY} WHERE id = ?", pod)
    return _row(found[0]) if found else None


def find(engine: Engine, wanted: str) -> PodRow:
    """By full id, name or unique beginning of the id. Raises NotFound; InvalidArgument for a beginning that several
    have."""
    from atoll.engine.pods.remove import mend

    row = _find(engine.store, wanted)
    if mend(engine, row):
        raise _unknown(wanted)
    return row


def _find(store: Store, wanted: str) -> PodRow:
    found = store.read(f"{_QUERY} WHERE id = ?", wanted) or store.read(f"{_QUERY} WHERE name = ?", wanted)
    if not found and wanted and all(c in "0123456789abcdef" for c in wanted):
        found = store.read(f"{_QUERY} WHERE id >= ? AND id < ? LIMIT 2", wanted, wanted + "g")
    if not found:
        raise _unknown(wanted)
    if len(found) > 1:
        raise errors.InvalidArgument(f"more than one result for pod ID {wanted}", hint="give more of it")
    return _row(found[0])


def _unknown(wanted: str) -> errors.NotFound:
    return errors.NotFound(f"no pod with name or ID {wanted} found: no such pod")


def add(store: Store, row: PodRow) -> None:
    """Reserve id and name. Raises Conflict for a name that a pod or a container has, in Podman's words."""

    def work(connection: Any) -> None:
        for kind in ("pods", "containers"):
            taken = connection.execute(f"SELECT id FROM {kind} WHERE name = ?", (row.name,)).fetchone()
            if taken is not None:
                raise errors.Conflict(
                    f"the {kind[:-1]} name {row.name!r} is already in use by {taken[0]}",
                    hint="remove it first, or take --replace" if kind == "pods" else "take another name",
                )
        connection.execute(
            "INSERT INTO pods VALUES (?, ?, ?, ?)", (row.id, row.name, row.created_at, row.record.to_text())
        )

    store.write(work)


def remove(store: Store, pod: str) -> None:
    """Forget it; unknown is fine. Raises Conflict while it has containers."""

    def work(connection: Any) -> None:
        if connection.execute("SELECT 1 FROM containers WHERE pod = ?", (pod,)).fetchone() is not None:
            raise errors.Conflict(f"pod {pod[:12]} has got another container meanwhile", hint="remove it again")
        connection.execute("DELETE FROM pods WHERE id = ?", (pod,))

    store.write(work)


def change(store: Store, pod: str, record: PodRecord) -> None:
    """Another record."""
    store.write(lambda at: at.execute("UPDATE pods SET record = ? WHERE id = ?", (record.to_text(), pod)))


def infra_of(engine: Engine, row: PodRow) -> ContainerRow | None:
    """The container that holds its namespaces; None for a pod without one."""
    if not row.record.infra:
        return None
    return next((one for one in engine.store.in_pod(row.id) if Record.from_text(one.record).infra), None)


def _row(found: tuple[Any, ...]) -> PodRow:
    return PodRow(id=found[0], name=found[1], created_at=found[2], record=PodRecord.from_text(found[3]))
