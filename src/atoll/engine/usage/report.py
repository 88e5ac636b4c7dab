"""The report: every container's sums, or one line for each value of a label."""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import is_up, state_of
from atoll.monitor import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow


class Line(Value):
    """One line: a container (`id` and `name`) or a label's value (`name` alone), and what it has used."""

    id: str
    name: str
    used: usage.Usage


def report(engine: Engine, names: list[str], *, label: str | None = None) -> list[Line]:
    """Of the containers named, or of all, newest first; with `label` one line for each of its values, by name.

    Containers without the label count under "". Raises NotFound.
    """
    rows = [engine.store.container(name) for name in names] if names else engine.store.containers()
    lines = [(row, _used(engine, row)) for row in rows]
    if label is None:
        return [Line(id=row.id, name=row.name, used=used) for row, used in lines]
    sums: dict[str, usage.Usage] = {}
    for row, used in lines:
        value = dict(Record.from_text(row.record).labels).get(label, "")
        sums[value] = sums.get(value, usage.Usage()).plus(used)
    return [Line(id="", name=value, used=sums[value]) for value in sorted(sums)]


def _used(engine: Engine, row: ContainerRow) -> usage.Usage:
    """All ended runs, and the one that goes on: by the kernel's counters of this moment, whoever was killed."""
    total = usage.read(engine.paths.container(row.id))
    run = engine.paths.container_run(row.id)
    if not is_up(state_of(engine, row.id)):
        return total
    try:
        return total.plus(usage.sample(run))
    except (errors.AtollError, OSError):  # it has ended just now
        return total
