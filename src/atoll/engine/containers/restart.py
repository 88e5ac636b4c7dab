"""restart: stop a container if it runs, then start it.

Holds: `restart`, also of a container that goes with its end. Does not hold: the two halves (`stop.py`, `start.py`).
"""

from __future__ import annotations

import os
import time

from atoll.base import errors, files
from atoll.base.rollback import Rollback
from atoll.engine.containers import bundle
from atoll.engine.containers.launch import RESTARTED, launch_detached
from atoll.engine.containers.record import Record
from atoll.engine.containers.start import start
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.containers.stop import stop
from atoll.engine.events import note as events
from atoll.engine.locks import lock_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine
    from atoll.isolation.protocol import ContainerPlan

_NOTED_SECONDS = 5.0
"""How long whoever launched it may take to note its plan: it is done a moment after the start."""


def restart(
    engine: Engine,
    name: str,
    *,
    timeout: int | None = None,
    signum: int | None = None,
    warn: Callable[[str], None] | None = None,
) -> None:
    """Stop (as `stop`) and start (as `start`); one that goes with its end goes with its next one.

    Raises NotFound, FailedPrecondition for one that nobody noted the plan of, and what those two raise.
    """
    row = engine.store.container(name)
    if not is_up(state_of(engine, row.id)):
        start(engine, row.id)
    elif Record.from_text(row.record).remove:
        _restart_going(
            engine, row.id, lambda: stop(engine, row.id, timeout=timeout, signum=signum, warn=warn, stays=True)
        )
    elif row.pod is not None:
        _restart_in_pod(
            engine, row.id, row.pod, lambda: stop(engine, row.id, timeout=timeout, signum=signum, warn=warn)
        )
    else:
        stop(engine, row.id, timeout=timeout, signum=signum, warn=warn)
        start(engine, row.id)
    events.container(engine, row.id, "restart")


def _restart_in_pod(engine: Engine, container_id: str, pod: str, end: Callable[[], None]) -> None:
    """Its pod, which may stop with its last container, does not take this for the end; unless it does not start."""
    from atoll.engine.pods.ended import after_end, coming_back

    lock = coming_back(engine, container_id)
    try:
        end()
        start(engine, container_id)
    except errors.AtollError:
        lock.release()
        after_end(engine, pod)
        raise
    lock.release()


def _restart_going(engine: Engine, container_id: str, end: Callable[[], None]) -> None:
    """The order keeps everybody else from removing it: its monitor's clean-up, the command that runs it, `stop`."""
    place = engine.paths.container(container_id)
    with Rollback() as undo:
        # 1. What is needed afterwards; the run directory goes with the end.
        plan = _plan_of(engine, container_id)
        # 2. Who sees the end and would remove it waits for this lock (`launch.finish`), and finds it running again;
        #    if we are killed in between, he does remove it.
        lock = lock_container(place)
        undo.push(lock.release)
        files.write_atomic(f"{place}/{RESTARTED}", "")
        end()
        # 3. What was written without waiting for the disk is all there, as there was no crash. The overlay's mark for
        #    that, which would make it refuse, lies in its scratch directory (overlayfs.rst, "Volatile mount").
        files.remove_tree(f"{engine.snapshots.writable(container_id).work}/work")
        engine.locks[container_id] = lock
        undo.release()
    launch_detached(engine, container_id, kept=plan)


def _plan_of(engine: Engine, container_id: str) -> ContainerPlan:
    """The plan, from its directory or from beside its processes. Raises FailedPrecondition, Corrupt."""
    place, run = engine.paths.container(container_id), engine.paths.container_run(container_id)
    if bundle.is_whole(place):
        return bundle.load(place)
    until = time.monotonic() + _NOTED_SECONDS
    while time.monotonic() < until and os.path.isdir(run):
        try:
            return bundle.load(run)
        except errors.NotFound:
            time.sleep(0.02)
    raise errors.FailedPrecondition(
        f"cannot restart container {container_id[:12]}: it goes with its end, and who made it has not noted how",
        hint="a sandbox of the SDK ends with its input; run another one",
    )
