"""doctor on this very host: what it says can be used can be used, for root and for ordinary users."""

from __future__ import annotations

import json
import os

import pytest

from kit.command import Atoll


def findings(atoll: Atoll) -> dict[str, dict[str, str]]:
    lines = atoll.good("doctor", "--format", "json").splitlines()
    return {row["Title"]: row for row in map(json.loads, lines)}


def test_root(atoll: Atoll, busybox: str):
    found = findings(atoll)
    assert found["container"]["Outcome"] == "ok"
    assert found["overlay"]["Outcome"] == found["bridge"]["Outcome"] == found["packet filter"]["Outcome"] == "ok"
    assert [name for name in os.listdir(atoll.data) if name.startswith("doctor-")] == []
    assert atoll.good("run", "--rm", "-m", "32m", busybox, "echo", "it works") == "it works"
    page = atoll.good("doctor")
    assert page.startswith("isolation\n  ok ")
    atoll("doctor", "--apply").failed(1, "go with --harden")


@pytest.mark.parametrize(("who", "outcome"), [("rootless", "ok"), ("undelegated", "warning")])
def test_an_ordinary_user_is_told_what_his_limits_are_worth(
    who: str, outcome: str, request: pytest.FixtureRequest, busybox: str
):
    atoll: Atoll = request.getfixturevalue(who)
    found = findings(atoll)
    assert found["memory"]["Outcome"] == outcome
    assert found["user namespaces"]["Outcome"] == found["container"]["Outcome"] == "ok"
    assert bool(found["memory"]["Fix"]) == (outcome != "ok")
    atoll.good("pull", "-q", busybox)
    ran = atoll("run", "--rm", "-m", "32m", busybox, "true")
    assert (ran.code == 0) == (outcome == "ok"), str(ran)
    atoll("doctor", "--harden", "--apply").failed(1, "root's to change")


def test_the_plan_only_tells(atoll: Atoll):
    before = open("/proc/sys/kernel/kptr_restrict").read()
    assert "kernel.kptr_restrict" in atoll.good("doctor", "--harden")
    assert open("/proc/sys/kernel/kptr_restrict").read() == before
    atoll("doctor", "--harden", "--undo").failed(1, "nothing to undo")
