"""What doctor says of made-up hosts, and trials whose child fails, dies or hangs."""

import os
import signal
import time

import pytest

from atoll.engine.doctor import findings, kernel, levels, networks, users
from atoll.engine.doctor.trials import attempt
from atoll.spec import idmap


@pytest.fixture
def host(tmp_path):
    return findings.Host(1000, str(tmp_path))


def put(host, path, text):
    place = host.root + path
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "w") as file:
        file.write(text)


def named(found):
    return {one.title: one for one in found}


def test_an_old_kernel_without_filters_and_with_an_open_flaw(host):
    put(host, "/sys/devices/system/cpu/vulnerabilities/meltdown", "Vulnerable\n")
    put(host, "/sys/devices/system/cpu/vulnerabilities/mds", "Not affected\n")
    found = named(kernel.kernel(host, "5.10.0-21-amd64"))
    assert found["version"].outcome == findings.BAD
    assert "5.14" in found["version"].said
    assert found["system call filters"].outcome == findings.BAD
    assert found["processor flaws"].said == "not mitigated: meltdown"
    assert named(kernel.kernel(host, "6.1.0"))["version"].outcome == findings.GOOD


def test_cgroups_of_three_shapes(host):
    put(host, "/proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    put(host, "/proc/self/cgroup", "0::/user.slice\n")
    put(host, "/sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
    found = named(kernel.cgroups(findings.Host(0, host.root)))
    assert found["hierarchy"].said == "unified (v2)"
    assert found["memory"].outcome == found["freezer"].outcome == found["devices"].outcome == findings.GOOD
    assert found["blkio"].outcome == findings.POOR
    put(host, "/proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n")
    found = named(kernel.cgroups(findings.Host(0, host.root)))
    assert found["hierarchy"].said.startswith("v1")
    assert (found["memory"].outcome, found["pids"].outcome) == (findings.GOOD, findings.POOR)
    put(host, "/proc/self/mountinfo", "")
    assert named(kernel.cgroups(host))["hierarchy"].outcome == findings.BAD


def test_delegation_is_mended_by_systemd_where_it_runs(host):
    put(host, "/proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    put(host, "/proc/self/cgroup", "0::/elsewhere\n")
    put(host, "/sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
    memory = named(kernel.cgroups(host))["memory"]
    assert memory.outcome == findings.POOR
    assert "chown it to 1000" in memory.fix
    os.makedirs(host.root + "/run/systemd/system")
    assert "Delegate=yes" in named(kernel.cgroups(host))["memory"].fix


def test_one_id_and_how_to_get_more(host):
    one = users.ranges(host, idmap.single(1000, 1000), "ann")[0]
    assert one.outcome == findings.POOR
    assert one.fix.startswith("as root: install uidmap")
    for name in ("newuidmap", "newgidmap", "apt-get"):
        put(host, f"/usr/bin/{name}", "")
        os.chmod(f"{host.root}/usr/bin/{name}", 0o755)
    one = users.ranges(host, idmap.single(1000, 1000), "ann")[0]
    assert one.fix == "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ann"
    assert host.install("uidmap") == "apt-get install uidmap"


def test_programs_and_network_helpers(host):
    assert {one.outcome for one in levels.programs(host)} == {findings.NOTE}
    without = {one.title: one for one in networks._rootless(host)}["without root"]
    assert without.outcome == findings.POOR
    put(host, "/usr/bin/pasta", "")
    os.chmod(f"{host.root}/usr/bin/pasta", 0o755)
    assert "/dev/net/tun" in networks._rootless(host)[0].fix
    put(host, "/dev/net/tun", "")
    os.chmod(f"{host.root}/dev/net/tun", 0o666)
    assert networks._rootless(host)[0].outcome == findings.GOOD


def test_trials():
    assert attempt(lambda: None) is None
    assert attempt(lambda: os.open("/no/such", os.O_RDONLY)) == "/no/such: No such file or directory"

    def wrong():
        raise ValueError("odd")

    assert attempt(wrong) == "odd"
    assert attempt(lambda: os.kill(os.getpid(), signal.SIGKILL)) == "the trial was killed"
    assert attempt(lambda: time.sleep(60), 0.1) == "no answer in 0.1 seconds"
