"""One suite for all implementations of the isolation seam: fixtures, and the list of implementations.

level   a driver with fresh directories; every test runs once for each member of LEVELS
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from atoll.isolation.container import ContainerDriver
from atoll.isolation.protocol import Driver
from kit import leaks
from kit.level import Level
from kit.sandbox import Sandbox

LEVELS: dict[str, Callable[[str, str], Driver]] = {
    "container": ContainerDriver,
    "container-without-spawner": lambda run_root, data: ContainerDriver(run_root, data, spawner="off"),
}
_serial = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Containers need namespaces and cgroups."""
    if os.geteuid() != 0:
        here = os.path.dirname(os.path.abspath(__file__))
        for item in items:
            if str(item.path).startswith(here):
                item.add_marker(pytest.mark.skip(reason="contract tests make namespaces and cgroups: run as root"))


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    """A corner of the machine; the session's process moves into it."""
    corner = Sandbox().enter()
    yield corner
    corner.leave()


@pytest.fixture(params=sorted(LEVELS))
def level(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Level]:
    """A fresh level; afterwards nothing of it may be left."""
    before = leaks.Count.now(sandbox.scratch)
    one = Level(f"{sandbox.scratch}/level-{next(_serial)}", LEVELS[request.param])
    yield one
    one.clear()
    left = leaks.settle(before, sandbox.scratch)
    assert not left, "\n".join(["left behind by this test:", *left])
