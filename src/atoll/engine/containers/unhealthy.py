"""What becomes of a container whose checks have failed: `--health-on-failure`, and a liveness probe's restart.

Holds: `unhealthy`, which its monitor runs (`atoll internal unhealthy`). Does not hold: when (`monitor/health.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.engine.containers import health, restarting
from atoll.engine.containers.bundle import is_whole
from atoll.engine.containers.record import Record
from atoll.engine.containers.restart import restart
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.containers.stop import stop
from atoll.linux.signals import SIGKILL
from atoll.monitor.health import UNHEALTHY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

KILL, RESTART, STOP = "kill", "restart", "stop"


def unhealthy(engine: Engine, name: str) -> None:
    """Do what its request said, if it is up and unhealthy still. While somebody does it nobody does it again. Raises
    what the verbs raise."""
    try:
        row = engine.store.container(name)
    except errors.NotFound:  # removed meanwhile
        return
    record, run = Record.from_text(row.record), engine.paths.container_run(row.id)
    if record.health is None:
        return
    lock = files.FileLock(f"{run}/unhealthy")
    if not os.path.isdir(run) or not lock.acquire(blocking=False):
        return
    try:
        found = health.known(engine, row.id, record)
        if found is None or found.status != UNHEALTHY or not is_up(state_of(engine, row.id)):
            return
        action, grace = record.health.on_failure, record.health.grace or None
        if action == KILL:
            engine.driver.signal(run, SIGKILL)  # nobody stopped it by hand: a restart policy applies
        elif action == STOP:
            stop(engine, row.id, timeout=grace, signum=None)
        elif action == RESTART:
            count = restarting.count(engine, row.id)
            restart(engine, row.id, timeout=grace)
            restarting.counted(engine, row.id, count + 1)
    except errors.NotFound:
        if record.remove or is_whole(engine.paths.container(row.id)):
            raise
        # else it is being removed, or whoever removed it was killed half-way
    finally:
        lock.release()
