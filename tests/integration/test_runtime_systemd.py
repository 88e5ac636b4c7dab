"""`--systemd-cgroup`: the conversation with a bus, on Debian's dbus-daemon with a stand-in for systemd; and a whole
life with the real one, in user-mode Linux."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator

import pytest
from tests.uml import machine

from kit.bundle import Runtime
from kit.command import installed
from kit.sandbox import Sandbox
from kit.systemd1 import FakeSystemd


@pytest.fixture
def systemd(sandbox: Sandbox, leak_check: None, root_runtime: Runtime) -> Iterator[FakeSystemd]:
    """A systemd that owns the hierarchies with pids, and the unified one if there is one."""
    tops = [one for one in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified") if os.path.isdir(one)]
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        tops = ["/sys/fs/cgroup"]
    fake = FakeSystemd(os.path.join(root_runtime.folder, "systemd"), tops)
    yield fake
    fake.stop()
    for slice_ in [*glob.glob("/sys/fs/cgroup/*/*.slice"), *glob.glob("/sys/fs/cgroup/*.slice")]:
        for place, _, _ in os.walk(slice_, topdown=False):
            os.rmdir(place)


def env_of(systemd: FakeSystemd) -> dict[str, str]:
    return {"DBUS_SYSTEM_BUS_ADDRESS": systemd.address}


def test_a_container_lives_in_its_scope(root_runtime: Runtime, systemd: FakeSystemd):
    bundle, name, env = root_runtime.bundle(), root_runtime.new_id(), env_of(systemd)
    linux = bundle.config["linux"]
    linux["cgroupsPath"] = "atoll-test.slice:box:one"
    linux["resources"] = {"pids": {"limit": 33}, "memory": {"limit": 64 << 20}, "cpu": {"quota": 50000}}
    bundle.config["annotations"] = {"org.systemd.property.CollectMode": "'inactive-or-failed'"}
    folder = bundle.save("sleep", "100").folder
    root_runtime.good("--systemd-cgroup", "create", "--bundle", folder, name, env=env)
    ((unit, mode, asked),) = systemd.calls("StartTransientUnit")
    pid = root_runtime.state(name)["pid"]
    assert (unit, mode) == ("box-one.scope", "replace")
    assert asked["Slice"] == "atoll-test.slice"
    assert asked["PIDs"] == [pid]
    assert asked["Delegate"]
    assert asked["TasksMax"] == 33
    assert asked["CPUQuotaPerSecUSec"] == 500000
    assert asked.get("MemoryMax", asked.get("MemoryLimit")) == 64 << 20
    assert asked["CollectMode"] == "inactive-or-failed"
    assert ["/dev/char/1:3", "rwm"] in asked["DeviceAllow"]
    with open(f"/proc/{pid}/cgroup") as stream:
        lines = stream.read().split()
    assert all(line.endswith("/atoll.slice/atoll-test.slice/box-one.scope") for line in lines if ":pids:" in line)
    (limit,) = [
        open(path).read().strip() for path in glob.glob("/sys/fs/cgroup/**/box-one.scope/pids.max", recursive=True)
    ]
    assert limit == "33"
    root_runtime.good("start", name)
    root_runtime.good("exec", name, "true", env=env)
    root_runtime.good("update", "--pids-limit", "44", name, env=env)
    ((_, runtime, changed),) = systemd.calls("SetUnitProperties")
    assert runtime
    assert changed == {"TasksMax": 44}
    root_runtime.good("delete", "--force", name, env=env)
    assert systemd.calls("StopUnit") == [["box-one.scope"]]
    assert not glob.glob("/sys/fs/cgroup/**/box-one.scope", recursive=True)


def test_a_failed_unit_of_that_name_makes_room(root_runtime: Runtime, systemd: FakeSystemd):
    bundle, env = root_runtime.bundle(), env_of(systemd)
    bundle.config["linux"]["cgroupsPath"] = ":atoll:stale"
    folder = bundle.save("true").folder
    root_runtime.good("--systemd-cgroup", "run", "--bundle", folder, root_runtime.new_id(), env=env)
    assert len(systemd.calls("StartTransientUnit")) == 2
    assert systemd.calls("StopUnit") == [["atoll-stale.scope"]]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a/plain/path", "expected it to be of format"),
        (":atoll:refused", "job for atoll-refused.scope ended with 'failed'"),
    ],
)
def test_refusals_leave_nothing(root_runtime: Runtime, systemd: FakeSystemd, path: str, words: str):
    bundle, name, env = root_runtime.bundle(), root_runtime.new_id(), env_of(systemd)
    bundle.config["linux"]["cgroupsPath"] = path
    folder = bundle.save("true").folder
    root_runtime("--systemd-cgroup", "create", "--bundle", folder, name, env=env).failed(1, words)
    assert not os.path.exists(os.path.join(root_runtime.root, name))


def test_without_a_bus(root_runtime: Runtime):
    bundle, name = root_runtime.bundle(), root_runtime.new_id()
    bundle.config["linux"]["cgroupsPath"] = ":atoll:one"
    env = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"}
    result = root_runtime("--systemd-cgroup", "create", "--bundle", bundle.save("true").folder, name, env=env)
    result.failed(1, "systemd not running on this host, cannot use systemd cgroups manager")
    assert not os.path.exists(os.path.join(root_runtime.root, name))


# A user's systemd on a bus of its own, in a machine with cgroup v2: the real one, which needs no other above it.
REAL = f"""
export XDG_RUNTIME_DIR=/run/user0; mkdir -m 700 $XDG_RUNTIME_DIR
dbus-daemon --session --address=unix:path=$XDG_RUNTIME_DIR/bus --nofork --nopidfile > /dev/null 2>&1 &
mkdir -p /run/systemd/system /sys/fs/cgroup/user.slice
until [ -S $XDG_RUNTIME_DIR/bus ]; do sleep 0.2; done
sh -c 'echo $$ > /sys/fs/cgroup/user.slice/cgroup.procs
    exec /usr/lib/systemd/systemd --user --unit=basic.target' > /dev/null 2>&1 &
until busctl --user status org.freedesktop.systemd1 > /dev/null 2>&1; do sleep 0.2; done
cd /run; mkdir -p b/rootfs/bin b/rootfs/proc b/rootfs/dev
cp /bin/busybox b/rootfs/bin/; ln -s busybox b/rootfs/bin/sleep; ln -s busybox b/rootfs/bin/cat
echo "$1" > b/config.json
runtime="{installed("atoll-runtime")} --root /run/rt --systemd-cgroup --rootless true"
$runtime run -d -b b one > /run/said 2>&1 || {{ cat /run/said; exit 2; }}
place=$(cut -d: -f3 /proc/$($runtime state one | sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p')/cgroup)
echo $place; cat /sys/fs/cgroup$place/pids.max
systemctl --user show box-one.scope -p TasksMax -p MemoryMax -p CPUQuotaPerSecUSec -p Delegate -p CollectMode
$runtime update --pids-limit 44 one || exit 3
systemctl --user show box-one.scope -p TasksMax
$runtime exec one cat /proc/self/cgroup || exit 4
$runtime delete --force one || exit 5
ls /sys/fs/cgroup$place 2>&1
systemctl --user show box-one.scope -p LoadState
"""


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_the_real_one(root_runtime: Runtime):
    assert machine.available(), "install Debian's user-mode-linux"
    bundle = root_runtime.bundle()
    linux = bundle.config["linux"]
    bundle.config["mounts"] = bundle.config["mounts"][:2]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
    linux["cgroupsPath"] = "user.slice:box:one"
    linux["resources"] = {"pids": {"limit": 33}, "memory": {"limit": 64 << 20}, "cpu": {"quota": 50000}}
    bundle.config["annotations"] = {"org.systemd.property.CollectMode": "'inactive-or-failed'"}
    bundle.config["process"]["args"] = ["sleep", "100"]
    result = machine.run(["sh", "-c", REAL, "sh", json.dumps(bundle.config)], timeout=120)
    assert result.status == 0, f"{result.output}\n{result.console}"
    lines = [line for line in result.output.splitlines() if line]
    assert lines[:2] == ["/user.slice/user.slice/box-one.scope", "33"]
    told = {"TasksMax=33", f"MemoryMax={64 << 20}", "CPUQuotaPerSecUSec=500ms", "Delegate=yes"}
    assert set(lines[2:7]) == told | {"CollectMode=inactive-or-failed"}
    assert lines[7:9] == ["TasksMax=44", "0::/"]
    assert "No such file" in lines[9]
    assert lines[10] == "LoadState=not-found"
