"""What `system check` says of checkpoints: what killed commands left, and records that nobody can read."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.checkpoints import store
from atoll.engine.checkpoints.save import sweep
from atoll.engine.locks import lock_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def check(engine: Engine, *, repair: bool) -> list[str]:
    """In words, one a line. What is being made or used right now is left alone."""
    found = []
    for row in engine.store.containers():
        try:
            lock = lock_container(engine.paths.container(row.id), blocking=False)
        except (errors.NotFound, errors.Unavailable):
            continue
        with lock:
            left = store.abandoned(engine, row.id)
            if left:
                found.append(f"{len(left)} checkpoints of container {row.name} are half made or half removed")
            if left and repair:
                sweep(engine, row.id)
            try:
                store.listed(engine, row.id)
            except errors.Corrupt as error:
                found.append(str(error))
    return found
