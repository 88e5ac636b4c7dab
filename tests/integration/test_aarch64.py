"""The parts that differ by architecture, run as aarch64 by Debian's qemu-user, as far as that goes.

qemu-user 7.2 has neither clone3(2), openat2(2) nor the new mount calls, so no container can be made there: what runs
is everything that computes (filters, tables, cgroup settings, documents) and the calls that it knows.
`tests/unit/linux/test_headers.py` compares numbers and layouts with the kernel's headers in every run.
"""

from __future__ import annotations

import os
import re

import pytest

from atoll.runtime import seccomp
from kit import arm
from kit.sandbox import Sandbox

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PURE = (
    "tests/unit/runtime/seccomp/test_seccomp_bpf.py tests/unit/runtime/seccomp/test_seccomp_profile.py"
    " tests/unit/runtime/seccomp/test_seccomp_compiler.py tests/unit/runtime/seccomp/test_seccomp_cache.py"
    " tests/unit/runtime/cgroups/test_conversions.py tests/unit/runtime/cgroups/test_devices.py"
    " tests/unit/runtime/cgroups/test_paths.py tests/unit/runtime/cgroups/test_stats.py"
    " tests/unit/runtime/test_mount_options.py tests/unit/runtime/test_options.py"
    " tests/unit/runtime/test_sync.py tests/unit/runtime/test_validate.py tests/unit/spec"
).split()
# Starts an interpreter of its own, which only binfmt_misc could run.
NOT = "tests/unit/runtime/seccomp/test_seccomp_cache.py::test_a_hit_loads_neither_compiler_nor_tables"
PROBE = """
import ctypes, os
from atoll.linux import capability, libc, process
from atoll.runtime import seccomp
from atoll.runtime.seccomp import arches
assert libc.MACHINE == arches.machine(None) == "aarch64"
profile = seccomp.default_profile(frozenset())
print(seccomp.compile(profile).hex())
header = capability._Header(capability._VERSION_3, 0)
data = (capability._Data * 2)()
libc.syscall(libc.SYS_capget, ctypes.byref(header), data)
wanted = [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")][0]
print(data[1].effective << 32 | data[0].effective == int(wanted, 16))
print(process.prctl(process.PR_CAPBSET_READ, 0))
"""


@pytest.fixture(scope="module")
def place(sandbox: Sandbox) -> str:
    """The unpacked arm64 packages."""
    assert os.path.exists(arm.EMULATOR), "install Debian's qemu-user-static"
    return arm.root(sandbox.run_outside)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_unit_tests_as_aarch64(place: str):
    words = [
        "-m",
        "pytest",
        "-q",
        "-W",
        "ignore",
        "-p",
        "no:cacheprovider",
        "-o",
        "timeout=0",
        f"--deselect={NOT}",
        *PURE,
    ]
    done = arm.run(place, words, 800, TREE)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 200


@pytest.mark.full
def test_calls_by_their_numbers_there(place: str):
    """capget(2) and prctl(2) reach the kernel through the emulator and give what /proc says; the filter compiled
    there is the one that is compiled here for that machine."""
    done = arm.run(place, ["-c", PROBE], 100, TREE)
    assert done.returncode == 0, done.stderr
    program, capabilities, bounding = done.stdout.split()
    assert bytes.fromhex(program) == seccomp.compile(
        seccomp.default_profile(frozenset(), arch="aarch64"), arch="aarch64"
    )
    assert (capabilities, bounding) == ("True", "1")
