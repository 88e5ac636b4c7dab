"""The quick test host: pytest in user-mode Linux with AppArmor in force (tests/uml boots it, in about three seconds).

Its kernel is Debian's 6.1 with AppArmor and cgroup v2. It has no nftables of the family inet, and its first process
is no systemd: what needs those is for QEMU.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.uml import machine

ARGUMENTS = ("apparmor=1", "security=apparmor")
PYTEST = (sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=300")


def pytest(words: Sequence[str], *, timeout: float = 300) -> machine.Result:
    """One call of it. Raises TimeoutError."""
    environment = {"ATOLL_TEST_HOST": "uml", "ATOLL_TEST_PATIENCE": "10", "ATOLL_TEST_CACHE": "/run/cache"}
    return machine.run([*PYTEST, *words], timeout=timeout, environment=environment, arguments=ARGUMENTS)
