"""Our AppArmor profile in force, which this machine's kernel cannot show: in user-mode Linux, of tests/host the quick
part. The rest of that host's suites take minutes (`test_host.py`)."""

from __future__ import annotations

import re

import pytest
from tests.host import uml
from tests.uml import machine


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_profile_refuses_where_every_other_wall_is_down(full: bool):
    assert machine.available(), "install Debian's user-mode-linux"
    result = uml.pytest(["tests/host/inside/test_apparmor.py", *(() if full else ("-k", "refuses"))], timeout=280)
    assert result.status == 0, f"{result.output}\n{result.console}"
    passed = re.search(r"(\d+) passed", result.output)
    assert passed is not None
    assert int(passed.group(1)) >= (7 if full else 1)
