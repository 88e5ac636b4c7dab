"""One suite for all implementations of the isolation seam: fixtures, and the list of implementations.

level   a driver with fresh directories; every test runs once for each member of LEVELS
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from atoll.isolation.container import ContainerDriver
from atoll.isolation.external import KNOWN, ExternalDriver
from atoll.isolation.protocol import Driver
from kit import leaks, vm
from kit.level import Level
from kit.sandbox import Sandbox


def _external(name: str) -> Callable[[str, str], Driver]:
    return lambda run_root, data: ExternalDriver(run_root, data, runtime=name)


LEVELS: dict[str, Callable[[str, str], Driver]] = {
    "container": ContainerDriver,
    "container-without-spawner": lambda run_root, data: ContainerDriver(run_root, data, spawner="off"),
    **{name: _external(name) for name in ("runc", "crun", "gvisor")},
    **{name: _external(name) for name in ("kata", "youki") if shutil.which(KNOWN[name][0])},
    "by-path": _external(shutil.which("crun") or "/usr/bin/crun"),
    "vm": vm.LevelDriver,
    "vm-uml": lambda run_root, data: vm.LevelDriver(run_root, data, vm.UML),
}
OTHERWISE = {
    "test_a_terminal_with_a_size[gvisor]": "this runsc gives the program a terminal that tty(1) does not know",
    "test_a_detached_exec_outlives_its_command[gvisor]": "its /tmp is the sandbox's own: test_external.py",
    "test_pause_and_resume[gvisor]": "refused by name: test_external.py",
    "test_what_it_uses_and_other_limits[gvisor]": "its cgroup counts the sentry's threads",
    "test_what_it_uses_and_other_limits[vm]": "its cgroup counts the VMM's threads: test_vm.py",
    "test_nothing_runs_before_the_start_and_attach_is_legal_then[vm]": "what it writes is on the guest's disk",
    "test_a_detached_exec_outlives_its_command[vm]": "what it writes is on the guest's disk",
    "test_pause_and_resume[vm]": "what it writes is on the guest's disk: test_vm.py",
}
"""What a level does otherwise; these tests are left out for it."""
OTHERWISE |= {name.replace("[vm]", "[vm-uml]"): why for name, why in OTHERWISE.items() if name.endswith("[vm]")}
SLOW_SAMPLES = {"by-path": 3, "gvisor": 4, "kata": 4, "vm": 4, "vm-uml": 3}
"""How many tests of the slow levels run without --full, chosen by the seed."""
_serial = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Containers need namespaces and cgroups. What a level does otherwise is left out, and of the slowest most."""
    items[:] = [item for item in items if item.name not in OTHERWISE]
    if items and not items[0].config.getoption("--full"):
        for name, count in SLOW_SAMPLES.items():
            slow = [item for item in items if _level(item) == name]
            chosen = random.Random(os.environ["ATOLL_TEST_SEED"]).sample(slow, min(count, len(slow)))
            items[:] = [item for item in items if item not in slow or item in chosen]
    if os.geteuid() != 0:
        here = os.path.dirname(os.path.abspath(__file__))
        for item in items:
            if str(item.path).startswith(here):
                item.add_marker(pytest.mark.skip(reason="contract tests make namespaces and cgroups: run as root"))


def _level(item: pytest.Item) -> object:
    return item.callspec.params.get("level") if hasattr(item, "callspec") else None


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
