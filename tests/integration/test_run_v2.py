"""`atoll run` whole, on pure cgroup v2 and Linux 6.1 (no `lowerdir+`, no PIDFD_GET_INFO): inside user-mode Linux."""

from __future__ import annotations

import glob
import sys
from pathlib import Path

import pytest
from tests.uml import machine

# Debian's kernel has overlay as a module, and the guest no insmod: finit_module(2) is number 313.
LOAD = (
    "import ctypes, os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); "
    "sys.exit(ctypes.CDLL(None).syscall(313, fd, b'', 0) and 1)"
)
ATOLL = Path(sys.executable).parent / "atoll"
SCRIPT = f"""
export ATOLL_DATA_ROOT=/run/data ATOLL_RUN_ROOT=/run/atoll
{sys.executable} -c "{LOAD}" "$1" || exit 9
{ATOLL} run --rm host sh -c 'id -u; cat /proc/self/cgroup' || exit 1
{ATOLL} run --rm -m 64m --cpus 0.5 --pids-limit 77 host \\
    sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max' || exit 2
{ATOLL} run --rm -m 32m host python3 -c 'x = bytearray(200 << 20)'; echo $?
{ATOLL} run -d --name web host sleep 100 > /dev/null || exit 3
{ATOLL} exec web cat /proc/1/comm || exit 4
{ATOLL} rm -f web || exit 5
mkdir -p /run/bb/bin && cp /bin/busybox /run/bb/bin/ && ln -s busybox /run/bb/bin/sleep
tar -C /run/bb -c . | {ATOLL} import - bb > /dev/null || exit 10
{ATOLL} pod create --name p -m 64m --pids-limit 33 --cpus 0.5 --network none > /dev/null || exit 11
{ATOLL} run -d --pod p --name one -m 32m bb sleep 100 > /dev/null || exit 12
cat /sys/fs/cgroup/atoll/pod-*/memory.max /sys/fs/cgroup/atoll/pod-*/pids.max /sys/fs/cgroup/atoll/pod-*/cpu.max
{ATOLL} pod pause p > /dev/null || exit 13
{ATOLL} pod ps --format '{{{{.Status}}}}'
{ATOLL} pod rm -f -t 0 p > /dev/null || exit 14
{ATOLL} system check || exit 6
cat /run/atoll/faults.log 2> /dev/null; ls /sys/fs/cgroup/atoll
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_run_on_pure_v2_and_an_older_kernel():
    assert machine.available(), "install Debian's user-mode-linux"
    module = glob.glob("/usr/lib/uml/modules/*/kernel/fs/overlayfs/overlay.ko")
    assert module, "Debian's user-mode-linux brings its modules"
    result = machine.run(["sh", "-c", SCRIPT, "sh", module[0]], timeout=150)
    assert result.status == 0, f"{result.output}\n{result.console}"
    lines = result.output.splitlines()
    assert lines[:2] == ["0", "0::/"]
    assert lines[2:5] == [str(64 << 20), "50000 100000", "77"]
    assert "out of memory" in lines[5]
    assert lines[6:9] == ["137", "sleep", "web"]
    assert lines[9:13] == [str(64 << 20), "33", "50000 100000", "Paused"]
    assert lines[13] == "nothing to repair"
    assert not [line for line in lines[14:] if not line.startswith(("cgroup.", "cpu", "io.", "memory.", "pids."))]
