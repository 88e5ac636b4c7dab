"""What a container is now: the record, the exit file and the kernel together.

row  plan.json  processes found   exit.json   →  state
yes  yes        never had any     no             created
yes  yes        being made        no             created
yes  yes        waiting           no             created
yes  yes        running, frozen   no             running, paused
yes  yes        none              yes            exited; created if its program never ran
yes  yes        one that waits    yes            restarting
yes  yes        none              no             exited 255, with the reason (`lost`); created while it is launched
yes  no         none, lock free   any            half made or half removed: `remove.remove_if_leftover`
"""

from __future__ import annotations

import os

from atoll.engine.containers.launch import MARK
from atoll.engine.locks import is_busy
from atoll.isolation.protocol import CREATED, EXITED, LOST, PAUSED, RUNNING, Status
from atoll.monitor.restart import RESTARTS_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

CREATING = "creating"
"""The runtime's word (OCI, State), which Docker does not know."""
RESTARTING = "restarting"
"""It has ended, and its monitor waits to have it started again."""

__all__ = ["CREATED", "EXITED", "LOST", "PAUSED", "RESTARTING", "RUNNING", "is_up", "state_of"]


def state_of(engine: Engine, container_id: str) -> Status:
    """The state, by the kernel's word. `lost` is told as exited with 255 and the reason."""
    run, place = engine.paths.container_run(container_id), engine.paths.container(container_id)
    if not os.path.isdir(run) and not os.path.exists(f"{place}/{MARK}") and not os.path.exists(f"{place}/exit.json"):
        return Status(status=CREATED)
    status = engine.driver.status(run, place)
    if status.status == LOST:
        # Between its run directory and its first record it looks the same; then whoever launches it has its lock.
        if is_busy(place):
            return Status(status=CREATED)
        status = engine.driver.status(run, place)  # launched to the end between the two looks, perhaps
        if status.status == LOST:
            return status.replace(status=EXITED)
    if status.status == CREATING:
        return status.replace(status=CREATED)
    if status.status == EXITED and os.path.exists(f"{place}/{RESTARTS_FILE}"):
        from atoll.engine.containers import restarting

        if restarting.is_waiting(place):
            return status.replace(status=RESTARTING)
    if status.status == EXITED and status.started_at is None and status.error is not None:
        return status.replace(status=CREATED)  # its start failed, as Docker shows it
    return status


def is_up(status: Status) -> bool:
    """Whether it has a program that runs or is paused."""
    return status.status in (RUNNING, PAUSED)
