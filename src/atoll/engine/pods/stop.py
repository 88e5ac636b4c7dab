"""pod stop, pod kill: all containers of a pod, those who join before what they join."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.kill import kill as kill_container
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.containers.stop import stop_all
from atoll.engine.events import note
from atoll.engine.pods import rows
from atoll.engine.pods.each import each, members
from atoll.engine.pods.machine import STOP_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine


def stop(engine: Engine, name: str, *, timeout: int | None = None, warn: Callable[[str], None] | None = None) -> str:
    """Stop all of it: the containers at once, then what holds their namespaces. Its id. Raises NotFound, and what
    went wrong with the first that does not stop, after all were tried."""
    row = rows.find(engine, name)
    names = [one.id for one in members(engine, row, infra=False)]
    failed: errors.AtollError | None = None
    for _, error in stop_all(engine, names, timeout=timeout, signum=None, warn=warn):
        if error is not None and not isinstance(error, errors.NotFound):
            failed = failed or error
    if failed is not None:
        raise failed
    last = STOP_SECONDS if row.record.isolation else 0
    for _, error in stop_all(engine, [one.id for one in members(engine, row, infra=True)], timeout=last, signum=None):
        if error is not None and not isinstance(error, errors.NotFound):
            raise error
    note.note(engine, "pod", "stop", row.id, name=row.name)
    return row.id


def kill(engine: Engine, name: str, signum: int) -> str:
    """A signal to the first process of every container that runs, what holds the namespaces last. Its id."""
    row = rows.find(engine, name)
    there = [one for one in reversed(members(engine, row)) if is_up(state_of(engine, one.id))]
    each(row, there, "kill", lambda container: kill_container(engine, container, signum))
    note.note(engine, "pod", "kill", row.id, name=row.name, signal=str(signum))
    return row.id
