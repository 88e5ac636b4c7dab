"""Health: what a container's checks are, and what they have found.

Holds: `plan_of`, `known`, `shown` (Docker's `State.Health`). Does not hold: the checks (`monitor/health.py`), what
flags and image ask for (`health_request.py`).
"""

from __future__ import annotations

import os

from atoll.base import launch
from atoll.engine.containers.plan import process_of
from atoll.monitor import health, probes
from atoll.monitor.requests import HealthPlan, ProbePlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.containers.record import Record
    from atoll.engine.engine import Engine
    from atoll.engine.requests import Probe
    from atoll.spec import runtime as oci


def plan_of(record: Record, container_id: str) -> HealthPlan | None:
    """What the monitor is to do; None for nothing."""
    if record.health is None:
        return None
    wanted = record.health.filled()
    return HealthPlan(
        process=_process(record, wanted.test),
        probes=tuple([_probe(record, one) for one in wanted.probes]),
        on_failure=tuple(launch.argv("internal", "unhealthy", container_id)) if wanted.on_failure else (),
        interval=wanted.interval,
        timeout=wanted.timeout,
        start_period=wanted.start_period,
        start_interval=wanted.start_interval,
        retries=wanted.retries,
    )


def _process(record: Record, test: tuple[str, ...]) -> oci.Process:
    kind, *words = test
    args = ("/bin/sh", "-c", *words) if kind == "CMD-SHELL" else tuple(words)
    return process_of(record.replace(terminal=False), args=args)


def _probe(record: Record, probe: Probe) -> ProbePlan:
    return ProbePlan(
        kind=probe.kind,
        process=_process(record, probe.test),
        delay=probe.delay,
        interval=probe.interval,
        timeout=probe.timeout,
        retries=probe.retries,
        successes=probe.successes,
    )


def known(engine: Engine, container_id: str, record: Record) -> health.Health | None:
    """What the checks have found in this life, or in the last one if that is over; None for a container without any.
    Raises Corrupt."""
    if record.health is None:
        return None
    run = engine.paths.container_run(container_id)
    found = health.read(run)
    if found is None and not os.path.isdir(run):
        found = health.read(engine.paths.container(container_id))
    return found or health.Health()


def shown(found: health.Health | None) -> dict[str, Any] | None:
    """As Docker's API has it; with probes also which of them are good, by Kubernetes' names of what that means."""
    if found is None:
        return None
    kinds = {probes.STARTUP: "Started", probes.LIVENESS: "Alive", probes.READINESS: "Ready"}
    each = {kinds[one["kind"]]: one["ok"] and not one["failed"] for one in found.probes}
    return {"Status": found.status, "FailingStreak": found.streak, "Log": list(found.results), **each}
