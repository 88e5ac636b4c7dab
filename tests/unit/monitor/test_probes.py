"""By which rules several probes of one container count."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.monitor import health, probes
from atoll.monitor.requests import HealthPlan, ProbePlan
from atoll.spec import runtime as oci

SECOND = 10**9
PROCESS = oci.Process(cwd="/", args=("true",))


def probe(kind: str, *, delay: int = 0, interval: int = 10, retries: int = 3, successes: int = 1) -> ProbePlan:
    return ProbePlan(
        kind=kind, process=PROCESS, delay=delay * SECOND, interval=interval * SECOND, timeout=SECOND,
        retries=retries, successes=successes,
    )  # fmt: skip


class Life:
    """A container's looks, one second after the other; `answers` are by kind whether the program says yes."""

    def __init__(self, *plans: ProbePlan) -> None:
        self.plan = HealthPlan(
            process=PROCESS, interval=SECOND, timeout=SECOND, start_period=0, start_interval=SECOND, retries=3,
            probes=plans, on_failure=("x",),
        )  # fmt: skip
        self.answers = dict.fromkeys(probes.KINDS, True)
        self.known, self.age = health.Health(), 0
        self.looks: list[tuple[int, str]] = []
        self.acts: list[int] = []

    def _look(self, one: ProbePlan) -> dict[str, Any]:
        self.looks.append((self.age, one.kind))
        return {"ExitCode": 0 if self.answers[one.kind] else 1}

    def until(self, age: int) -> str:
        while self.age < age:
            before = self.known
            self.known = health.after_probes(before, self.plan, self.age * SECOND, self._look)
            if health.has_failed(before, self.known, self.plan):
                self.acts.append(self.age)
            self.age += 1
        return str(self.known.status)


def test_liveness_has_its_delay_its_period_and_its_threshold() -> None:
    life = Life(probe("liveness", delay=4, interval=5))
    assert life.until(4) == "starting"
    assert life.until(15) == "healthy"
    assert life.looks == [(4, "liveness"), (9, "liveness"), (14, "liveness")]
    life.answers["liveness"] = False
    assert life.until(29) == "healthy"
    assert life.acts == []
    assert life.until(30) == "unhealthy"
    assert life.acts == [29]
    assert life.looks[-1] == (29, "liveness")


def test_one_success_in_between_counts_anew() -> None:
    life = Life(probe("liveness", interval=1, retries=2))
    for age in range(1, 20):
        life.answers["liveness"] = bool(age % 2)
        assert life.until(age) == "healthy"
    assert life.acts == []


def test_what_failed_is_not_looked_at_again_but_asked_for_again() -> None:
    life = Life(probe("liveness", interval=1, retries=2))
    life.answers["liveness"] = False
    life.until(2)
    life.answers["liveness"] = True
    assert life.until(8) == "unhealthy"
    assert len(life.looks) == 2
    assert life.acts == [1, 3, 5, 7]


def test_startup_holds_the_others_off_and_may_fail_itself() -> None:
    plans = (probe("liveness", interval=1), probe("startup", interval=2, retries=4), probe("readiness", interval=1))
    life = Life(*plans)
    life.answers["startup"] = False
    assert life.until(5) == "starting"
    assert {kind for _, kind in life.looks} == {"startup"}
    life.answers["startup"] = True
    assert life.until(8) == "healthy"
    assert [kind for age, kind in life.looks if age > 6] == ["liveness", "readiness"]
    life = Life(*plans)
    life.answers["startup"] = False
    assert life.until(7) == "unhealthy"
    assert life.acts == [6]


def test_readiness_shows_and_ends_nothing() -> None:
    life = Life(probe("readiness", interval=1, retries=2, successes=2), probe("liveness", interval=1))
    life.answers["readiness"] = False
    assert life.until(6) == "starting"
    life.answers["readiness"] = True
    assert life.until(7) == "starting"
    assert life.until(8) == "healthy"
    life.answers["readiness"] = False
    assert life.until(9) == "healthy"
    assert life.until(10) == "unhealthy"
    life.answers["readiness"] = True
    assert life.until(12) == "healthy"
    assert life.acts == []


@pytest.mark.parametrize(("retries", "acts"), [(1, [0, 1, 2, 3]), (2, [1, 3])])
def test_a_plain_check_asks_each_time_that_it_failed_often_enough(retries: int, acts: list[int]) -> None:
    plan = HealthPlan(
        process=PROCESS, interval=1, timeout=1, start_period=0, start_interval=1, retries=retries, on_failure=("x",)
    )
    known, found = health.Health(), []
    for number in range(4):
        before = known
        known = health.after(before, {"ExitCode": 1}, plan, young=False)
        if health.has_failed(before, known, plan):
            found.append(number)
    assert found == acts
    well = health.after(known, {"ExitCode": 0}, plan, young=False)
    assert not health.has_failed(known, well, plan)
