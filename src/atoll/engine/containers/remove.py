"""rm: remove a container; and clear away what a killed command left."""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.engine.containers import bundle
from atoll.engine.containers.launch import remove_all
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.locks import lock_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow

_KILL_SECONDS = 10.0


def remove(engine: Engine, name: str, *, force: bool, volumes: bool, with_pod: bool = False) -> None:
    """Remove a container; one that runs only with `force`. `volumes`: its anonymous volumes too. `with_pod`: also one
    that holds a pod's namespaces.

    Raises NotFound, Conflict in Docker's words.
    """
    row = engine.store.container(name)
    place, run = engine.paths.container(row.id), engine.paths.container_run(row.id)
    record = Record.from_text(row.record)
    if record.infra and not with_pod:
        raise errors.Conflict(
            f"container {row.id} is the infra container of pod {row.pod} and cannot be removed without removing "
            "the pod"
        )
    anonymous = tuple([m.source for m in record.mounts if m.anonymous]) if volumes or record.remove else ()
    try:
        lock = lock_container(place)
    except errors.NotFound:
        if _row_is_gone(engine, row.id):
            raise errors.NotFound(f"No such container: {name}") from None
        remove_all(engine, row.id, anonymous)  # a removal that was killed before its last step
        return
    with lock:
        if _row_is_gone(engine, row.id):  # removed while we waited
            raise errors.NotFound(f"No such container: {name}")
        status = state_of(engine, row.id)
        if status.status in (RUNNING, PAUSED):
            if not force:
                first = "Unpause and then stop" if status.status == PAUSED else "Stop"
                raise errors.Conflict(
                    f"You cannot remove a {status.status} container {row.id}. "
                    f"{first} the container before attempting removal or force remove"
                )
            if record.restart != "no":
                from atoll.engine.containers import restarting

                restarting.hold(engine, row.id)  # its monitor has nothing to write down for another start
            _kill(engine, run, place)
        remove_all(engine, row.id, anonymous)


def _row_is_gone(engine: Engine, container_id: str) -> bool:
    try:
        engine.store.container(container_id)
        return False
    except errors.NotFound:
        return True


def _kill(engine: Engine, run: str, place: str) -> None:
    try:
        engine.driver.kill_all(run)
        engine.driver.wait(run, place, _KILL_SECONDS)
    except (errors.NotFound, errors.FailedPrecondition):  # it ended by itself meanwhile
        pass


def remove_if_leftover(engine: Engine, row: ContainerRow) -> bool:
    """Remove a container that is half made or half removed and that nobody works on; whether it was one.

    A container that goes with its end never has a plan in its directory: it is a leftover once it has ended.
    """
    place = engine.paths.container(row.id)
    if bundle.is_whole(place):
        return False
    try:
        lock = lock_container(place, blocking=False)
    except errors.Unavailable:
        return False  # being made, or being removed, right now
    except errors.NotFound:
        remove_all(engine, row.id, ())
        return True
    with lock:
        if bundle.is_whole(place):
            return False
        if os.path.isdir(engine.paths.container_run(row.id)) and not _ended(engine, row.id):
            return False
        record = Record.from_text(row.record)
        remove_all(engine, row.id, tuple([m.source for m in record.mounts if m.anonymous]))
    return True


def _ended(engine: Engine, container_id: str) -> bool:
    return engine.driver.status(engine.paths.container_run(container_id), engine.paths.container(container_id)).ended
