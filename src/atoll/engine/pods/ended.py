"""After the end of a container in a pod whose exit policy is `stop`: the last one to end takes the pod along.

Source: podman-pod-create(1), --exit-policy.
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.engine.containers.state import RESTARTING, is_up, state_of
from atoll.engine.pods import rows
from atoll.engine.pods.each import members
from atoll.engine.pods.record import STOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def ended(engine: Engine, container: str) -> None:
    """What its monitor has done (`atoll internal pod`): its networks, if it has its own, are given back, too."""
    try:
        row = engine.store.container(container)
    except errors.NotFound:
        return
    if '"networks":' in row.record:
        from atoll.engine.networks.ended import main

        main([row.id])
    if row.pod is not None:
        after_end(engine, row.pod)


RESTART = "restart.lock"
"""A file in the bundle of a pod's container, locked by whoever stops it to start it again."""


def coming_back(engine: Engine, container: str) -> files.FileLock:
    """A held lock: until it is released, or its holder has ended, this container's end is no end for its pod. Raises
    OSError."""
    lock = files.FileLock(f"{engine.paths.container(container)}/{RESTART}")
    lock.acquire()
    return lock


def _comes_back(engine: Engine, container: str) -> bool:
    path = f"{engine.paths.container(container)}/{RESTART}"
    if not os.path.exists(path):
        return False
    lock = files.FileLock(path)
    if not lock.acquire(blocking=False):
        return True
    lock.release()
    return False


def after_end(engine: Engine, pod: str) -> None:
    """Stop the pod if its policy says so and none of its containers goes on or is about to be started again."""
    row = rows.by_id(engine.store, pod)
    if row is None or row.record.exit_policy != STOP:
        return
    for one in members(engine, row, infra=False):
        status = state_of(engine, one.id)
        if is_up(status) or status.status == RESTARTING or _comes_back(engine, one.id):
            return
    from atoll.engine.pods.stop import stop

    try:
        stop(engine, row.id)
    except errors.NotFound:
        pass
