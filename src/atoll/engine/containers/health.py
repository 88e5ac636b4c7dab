"""Health: what a container's checks are, and what they have found.

Holds: `plan_of`, `known`, `shown` (Docker's `State.Health`). Does not hold: the checks (`monitor/health.py`), what
flags and image ask for (`health_request.py`).
"""

from __future__ import annotations

from atoll.engine.containers.plan import process_of
from atoll.monitor import health
from atoll.monitor.requests import HealthPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.containers.record import Record
    from atoll.engine.engine import Engine


def plan_of(record: Record) -> HealthPlan | None:
    """What the monitor is to do; None for nothing."""
    if record.health is None:
        return None
    wanted = record.health.filled()
    kind, *words = wanted.test
    args = ("/bin/sh", "-c", *words) if kind == "CMD-SHELL" else tuple(words)
    return HealthPlan(
        process=process_of(record.replace(terminal=False), args=args),
        interval=wanted.interval,
        timeout=wanted.timeout,
        start_period=wanted.start_period,
        start_interval=wanted.start_interval,
        retries=wanted.retries,
    )


def known(engine: Engine, container_id: str, record: Record) -> health.Health | None:
    """What the checks have found; None for a container without any. Raises Corrupt."""
    if record.health is None:
        return None
    found = health.read(engine.paths.container_run(container_id)) or health.read(engine.paths.container(container_id))
    return found or health.Health()


def shown(found: health.Health | None) -> dict[str, Any] | None:
    """As Docker's API has it."""
    if found is None:
        return None
    return {"Status": found.status, "FailingStreak": found.streak, "Log": list(found.results)}
