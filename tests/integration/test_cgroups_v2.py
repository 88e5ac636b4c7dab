"""The cgroup tests once more, on pure cgroup v2 and Linux 6.1: `test_cgroups.py` inside user-mode Linux."""

from __future__ import annotations

import re
import sys

import pytest
from tests.uml import machine

# -S and the like would hide pytest; the guest's file system is read-only and has no cache to offer.
PYTEST = (sys.executable, "-B", "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "--timeout=90")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_on_pure_v2():
    assert machine.available(), "install Debian's user-mode-linux"
    result = machine.run([*PYTEST, "tests/integration/test_cgroups.py"], timeout=240)
    assert result.status == 0, f"{result.output}\n{result.console}"
    passed = re.search(r"(\d+) passed", result.output)
    assert passed is not None
    assert int(passed.group(1)) >= 40


@pytest.mark.timeout(120)
def test_the_machine_ends_in_time_and_leaves_nothing():
    with pytest.raises(TimeoutError):
        machine.run(["sleep", "600"], timeout=6)
    result = machine.run(["sh", "-c", "stat -f -c %T /sys/fs/cgroup; kill -9 $$"], timeout=60)
    assert result.status == -9
    assert result.output == "cgroup2fs\n"
