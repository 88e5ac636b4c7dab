"""`atoll-runtime` on pure cgroup v2, inside user-mode Linux: limits, the cgroup mount, and to whom it is given."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.uml import machine

RUNTIME = Path(sys.executable).parent / "atoll-runtime"
TESTS = Path(__file__).resolve().parent.parent
BUNDLE = f"""
import subprocess, sys
sys.path.append({str(TESTS)!r})
from kit.bundle import Bundle
bundle = Bundle("/run/bundle")
bundle.config["mounts"].append({{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}})
linux = bundle.config["linux"]
linux["namespaces"].append({{"type": "user"}})
linux["uidMappings"] = linux["gidMappings"] = [{{"containerID": 0, "hostID": 5000, "size": 1000}}]
linux["cgroupsPath"] = "/owned"
linux["resources"] = {{"memory": {{"limit": 64 << 20}}, "pids": {{"limit": 77}}}}
bundle.save("sleep", "100")
subprocess.run(["chown", "-R", "5000:5000", bundle.rootfs], check=True)
"""
SCRIPT = f"""
{sys.executable} -c "$1" || exit 9
{RUNTIME} --root /run/rt run --detach -b /run/bundle c < /dev/null > /run/out 2>&1 || {{ cat /run/out; exit 1; }}
cd /sys/fs/cgroup/owned || exit 2
stat -c '%n %u' . cgroup.procs cgroup.subtree_control cgroup.threads memory.max cgroup.events
cat memory.max pids.max
{RUNTIME} --root /run/rt exec c sh -c \\
    'cd /sys/fs/cgroup; busybox mkdir mine && echo made; echo 5 > pids.max || echo kept; cat /proc/1/cgroup'
cd /
{RUNTIME} --root /run/rt delete --force c || exit 3
ls -d /sys/fs/cgroup/owned 2> /dev/null
exit 0
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.spec("config-linux#cgroup-ownership.writable", "config-linux#cgroup-ownership.listed-files")
@pytest.mark.spec("config-linux#cgroup-ownership.other-files")
def test_a_writable_cgroup_belongs_to_the_containers_root():
    assert machine.available(), "install Debian's user-mode-linux"
    result = machine.run(["sh", "-c", SCRIPT, "sh", BUNDLE], timeout=100)
    assert result.status == 0, f"{result.output}\n{result.console}"
    lines = result.output.splitlines()
    owned = dict(line.split() for line in lines[:6])
    given = {".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}
    assert {name for name, uid in owned.items() if uid == "5000"} == given, lines
    assert owned["memory.max"] == owned["cgroup.events"] == "0"
    assert lines[6:9] == [str(64 << 20), "77", "made"]
    assert lines[-2:] == ["kept", "0::/"]
