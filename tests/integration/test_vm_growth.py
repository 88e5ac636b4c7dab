"""Machines, one after the other: nothing stays of them. `--full` alone: each takes a second or more."""

from __future__ import annotations

import os

import pytest

from kit import leaks
from kit.command import Atoll
from kit.sandbox import Sandbox

pytestmark = [pytest.mark.timeout(1800), pytest.mark.full]
COUNT = int(os.environ.get("ATOLL_TEST_MACHINES", "20"))


def test_machines_come_and_go(machines: Atoll, busybox: str, sandbox: Sandbox):
    box = machines

    def run() -> None:
        words = ("run", "--rm", "--network", "none", "--isolation", "vm")
        assert box.good(*words, busybox, "echo", "up", timeout=300) == "up"

    run()  # makes the template, and the image a file
    before, files = leaks.Count.now(sandbox.scratch), _files(box)
    for _ in range(COUNT):
        run()
    cache = ("spawner", "spare", "namespaces")
    left = leaks.settle(before, sandbox.scratch)
    assert not [line for line in left if not any(word in line for word in cache)], left
    assert leaks.stray_files(box.data, box.run_root) == []
    assert _files(box) == files


def _files(box: Atoll) -> set[str]:
    """All in the data root, but what the database and the journal are made of."""
    found = {f"{folder}/{name}" for folder, _, names in os.walk(box.data) for name in names}
    return {path for path in found if "atoll.db" not in path and "/events/" not in path}
