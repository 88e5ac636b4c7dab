"""restore: a container goes on where it was saved, or a copy of it does.

Holds: `restore`, `restore_copy`. Does not hold: saving (`save.py`), archives (`import_.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.checkpoints import copies, store
from atoll.engine.checkpoints.save import refuse, sweep
from atoll.engine.containers import bundle
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.events import note as events
from atoll.engine.locks import lock_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def restore(engine: Engine, container: str, *, name: str | None = None, keep: bool = False) -> str:
    """Let a container that has ended go on where it was saved: as the same container, with the disk that it had then.
    A checkpoint without a name goes when it is used, unless it is to be kept. Returns the container's id.

    Killed at any moment: the container has the disk that it had or the saved one, and the checkpoint is there, or the
    container runs. Raises NotFound, FailedPrecondition for one that runs and for a machine that would be another.
    """
    row = engine.store.container(container)
    place, found = store.need(engine, row.id, row.name, name or store.UNNAMED)
    refuse(engine, row, memory=found.memory)
    lock = lock_container(engine.paths.container(row.id))
    try:
        sweep(engine, row.id)
        if state_of(engine, row.id).status in (RUNNING, PAUSED):
            raise errors.FailedPrecondition(
                f"container {row.id} is already running", hint="stop it, or make a copy with --name"
            )
        copies.put_disk(bundle.load(engine.paths.container(row.id)), place)
        engine.locks[row.id] = lock  # the launch gives it back
        copies.go_on(engine, row.id, place if found.memory else "")
    finally:
        lock.release()
    if name is None and not keep:
        with lock_container(engine.paths.container(row.id)):
            store.discard(place)
    events.container(engine, row.id, "restore")
    return row.id


def restore_copy(
    engine: Engine,
    container: str,
    *,
    name: str | None = None,
    new_name: str | None = None,
    publish: tuple[str, ...] = (),
) -> str:
    """A further container that goes on where `container` was saved, whatever became of that one. Returns its id. The
    checkpoint stays. Raises as `restore`, Conflict for a name that is taken."""
    row = engine.store.container(container)
    place, found = store.need(engine, row.id, row.name, name or store.UNNAMED)
    refuse(engine, row, memory=found.memory)
    made = copies.make(
        engine, copies.request_of(engine, row, name=new_name, publish=publish), place, memory=found.memory
    )
    events.container(engine, made, "restore")
    return made
