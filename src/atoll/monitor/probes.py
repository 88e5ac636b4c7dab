"""Probes: several checks of one container, each with its own times, by the rules of Kubernetes' kubelet.

Holds: `after` (what one result changes), `turn` (all that are due), `verdict`. Pure but for the looks, which the
caller makes. Does not hold: the timer and the record (`health.py`), what follows a failure (`engine`).

Until the startup probe has succeeded the others wait. A result counts once it was there `retries` (a failure) or
`successes` times in a row. Liveness begins as good, readiness and startup as bad; a startup or liveness probe that
fails is the end of the container, a readiness probe shows and does no more.
Source: kubernetes.io, "Configure Liveness, Readiness and Startup Probes"; kubelet's prober/worker.go.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from atoll.monitor.requests import ProbePlan

STARTUP, LIVENESS, READINESS = "startup", "liveness", "readiness"
KINDS = (STARTUP, LIVENESS, READINESS)


def fresh(kind: str) -> dict[str, Any]:
    """What is known of a probe that nobody has made: whether it is good and ever was, what the last results were and
    how many in a row, at what age of the container (nanoseconds) the next is due, whether it has failed for good."""
    good = kind == LIVENESS
    return {"kind": kind, "ok": good, "was": False, "last": None, "run": 0, "due": 0, "failed": False}


def after(known: dict[str, Any], ok: bool, probe: ProbePlan) -> dict[str, Any]:
    """The same after one more result."""
    run = known["run"] + 1 if known["last"] is ok else 1
    counts = run >= (probe.successes if ok else probe.retries)
    failed = known["failed"] or (counts and not ok and probe.kind != READINESS)
    now = ok if counts else known["ok"]
    return {**known, "ok": now, "was": known["was"] or now, "last": ok, "run": run, "failed": failed}


def turn(
    probes: Sequence[ProbePlan],
    before: Sequence[dict[str, Any]],
    age: int,
    look: Callable[[ProbePlan], dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Make what is due in a container of this age (nanoseconds). What is known of each then, and the results."""
    known = {one["kind"]: one for one in before}
    results = []
    for probe in sorted(probes, key=lambda one: KINDS.index(one.kind)):
        now = known.setdefault(probe.kind, fresh(probe.kind))
        started = known.get(STARTUP, {"ok": True})["ok"]
        if age < max(probe.delay, now["due"]) or started is (probe.kind == STARTUP):
            continue
        due = {"due": age + probe.interval}
        if now["failed"]:  # its end is on its way: counted, so that it is asked for again if that went wrong
            known[probe.kind] = {**now, "run": now["run"] + 1, **due}
            continue
        result = look(probe)
        results.append(result)
        known[probe.kind] = {**after(now, result["ExitCode"] == 0, probe), **due}
    return [known[kind] for kind in KINDS if kind in known], results


def verdict(known: Sequence[dict[str, Any]]) -> tuple[bool | None, int]:
    """Whether it is healthy (None: not known yet), and how many results in a row say otherwise."""
    if any(one["failed"] for one in known):
        return False, max(one["run"] for one in known if one["failed"])
    of = {one["kind"]: one for one in known}
    streak = max([one["run"] for one in known if one["last"] is False], default=0)
    if STARTUP in of and not of[STARTUP]["ok"]:
        return None, streak
    ready = of.get(READINESS)
    if ready is not None and not ready["ok"]:
        return (False if ready["was"] else None), streak
    live = of.get(LIVENESS)
    return (None if live is not None and live["last"] is None and ready is None else True), streak
