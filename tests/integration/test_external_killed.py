"""A clerk that dies while another runtime makes a container: nothing of what that runtime was doing stays."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.isolation import external
from kit.level import Level
from kit.sandbox import Sandbox
from kit.waiting import until

_serial = itertools.count()
WORDS = ("--network", "sandbox", "--ignore-cgroups=false")


@pytest.fixture
def level(sandbox: Sandbox, leak_check: None) -> Iterator[Level]:
    """The level gvisor."""
    one = Level(
        f"{sandbox.scratch}/external-{next(_serial)}",
        lambda run_root, data: external.ExternalDriver(run_root, data, runtime="gvisor"),
    )
    yield one
    one.clear()


def test_a_clerk_killed_while_the_runtime_works(level: Level, monkeypatch: pytest.MonkeyPatch):
    """By a runtime that leaves an init behind, tells so, and then does not come to an end."""
    program, told = Path(f"{level.folder}/runsc"), Path(f"{level.folder}/told")
    program.write_text(f"#!/bin/sh\nsleep 1000 &\necho $PPID $$ $! > {told}.new && mv {told}.new {told}\nwait\n")
    program.chmod(0o755)
    monkeypatch.setitem(external.KNOWN, "gvisor", (str(program), *WORDS))
    plan, met = level.plan("true"), []

    def create() -> None:
        try:
            level.driver.create(plan, start=True)
        except errors.AtollError as error:
            met.append(error.kind)

    asking = threading.Thread(target=create)
    asking.start()
    until(told.exists)
    clerk, *theirs = map(int, told.read_text().split())
    for pid in theirs:
        assert f"/atoll/{plan.id}\n" in Path(f"/proc/{pid}/cgroup").read_text()
    os.kill(clerk, signal.SIGKILL)
    asking.join(60)
    assert met == ["unavailable"]
    level.driver.delete(plan.run, plan.bundle, force=True)
    for pid in theirs:
        until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))
    assert not os.path.exists(plan.run)
    assert level.status(plan).status == "lost"
