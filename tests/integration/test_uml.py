"""The level `vm` by user-mode Linux: the same commands, another driver in the configuration."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from kit import processes, vm
from kit.command import Atoll
from kit.sandbox import Sandbox

pytestmark = pytest.mark.timeout(600)
VM = ("--isolation", "vm")
LONG = 200.0
"""Seconds for a command: each system call of a guest is two switches between processes, which wait on a busy host."""


def good(atoll: Atoll, *words: str) -> str:
    """What a command that succeeds has written."""
    return atoll.good(*words, timeout=LONG)


def use(atoll: Atoll, driver: str = "uml") -> Atoll:
    """Let its machines be made by one driver."""
    with open(atoll.config, "w") as stream:
        stream.write(f'[vm]\ndriver = "{driver}"\n')
    return atoll


@pytest.fixture
def box(fresh: Callable[..., Atoll], machine_store: str, busybox: str) -> Atoll:
    """Root's Atoll, with user-mode Linux."""
    one = fresh()
    vm.give(one, machine_store)
    use(one).good("pull", "-q", busybox)
    return one


def test_a_day_of_a_machine(box: Atoll, busybox: str):
    script = "echo up; trap 'echo term; exit 4' TERM; while :; do sleep 0.1; done"
    good(box, "run", "-d", "--name", "web", "--network", "none", *VM, "-m", "64m", busybox, "sh", "-c", script)
    assert good(box, "exec", "web", "uname", "-r") != os.uname().release
    assert good(box, "exec", "web", "cat", "/sys/fs/cgroup/memory.max") == str(64 << 20)
    assert "user-mode Linux, a weaker wall" in str(box.inspect("web"))
    assert box("exec", "-i", "web", "cat", stdin="typed" * 20_000, timeout=LONG).good() == "typed" * 20_000
    good(box, "exec", "web", "sh", "-c", "echo kept > /kept")
    good(box, "update", "-m", "32m", "--pids-limit", "99", "web")
    limits = good(box, "exec", "web", "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max")
    assert limits.split() == [str(32 << 20), "99"]
    box("update", "-m", "1g", "--memory-swap", "2g", "web").failed(1, "this machine began with 256 MiB")
    good(box, "stop", "web")
    assert box.state("web")["ExitCode"] == 4
    good(box, "update", "-m", "512m", "--memory-swap", "1g", "web")
    assert good(box, "logs", "web").split() == ["up", "term"]
    good(box, "start", "web")
    assert good(box, "exec", "web", "cat", "/kept") == "kept"
    total = next(line for line in good(box, "exec", "web", "cat", "/proc/meminfo").splitlines() if "MemTotal" in line)
    assert int(total.split()[1]) > 512 << 10, "stopped, its machine was made larger"
    good(box, "rm", "-f", "web")
    assert box("system", "check").code == 0


def test_what_it_cannot_do_is_refused_by_name(box: Atoll, busybox: str, sandbox: Sandbox):
    words = ("run", "--rm", "--network", "none", *VM, "-v", f"{sandbox.scratch}:/data", busybox, "true")
    box(*words).failed(125, "user-mode Linux cannot show a container volumes")
    assert box.all() == []


@pytest.mark.parametrize("whom", ["keeper", "vmm"])
def test_a_sigkill_leaves_none_of_its_many_processes(box: Atoll, busybox: str, whom: str):
    """Those of the guest are processes of the host's, and do not end by themselves when their kernel is killed."""
    good(box, "run", "-d", "--name", "web", "--network", "none", *VM, busybox, "sleep", "600")
    init = int(box.state("web")["Pid"])
    vmm = next(one.pid for one in processes.everyone() if one.parent == init)
    space = os.readlink(f"/proc/{vmm}/ns/pid")
    members = [one.pid for one in processes.everyone() if _space(one.pid) == space]
    assert len(members) > 3, "the kernel, and the processes of the guest"
    os.kill({"keeper": init, "vmm": vmm}[whom], signal.SIGKILL)
    assert box.wait_for("web", "exited")["ExitCode"] in (137, 255)
    deadline = time.monotonic() + 30
    while left := [one.pid for one in processes.everyone() if _space(one.pid) == space]:  # killed, not yet gone
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    good(box, "rm", "web")


def _space(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def test_an_ordinary_user(fresh_rootless: Callable[..., Atoll], busybox: str):
    """No kernel, no right to a device: nothing is needed but the program."""
    one = use(fresh_rootless("atoll-full"))
    one.good("pull", "-q", busybox)
    words = ("run", "--rm", "--network", "none", *VM, busybox, "sh", "-c", "id -u; uname -r")
    assert good(one, *words).split()[0] == "0"
    assert one.all() == []


def test_a_network(net: Atoll, busybox: str, machine_store: str):
    """The bridge, names and ports of containers, by a tap."""
    vm.give(net, machine_store)
    use(net)
    net.good("network", "create", "front")
    serve = "while :; do echo served | nc -l -p 80; done"
    good(net, "run", "-d", "--name", "web", *VM, "--network", "front", busybox, "sh", "-c", serve)
    ask = "until nc -w 5 web 80; do sleep 0.1; done"
    asked = good(net, "run", "--rm", "--network", "front", busybox, "timeout", "150", "sh", "-c", ask)
    assert asked == "served"
    net.good("rm", "-f", "web")
    net.good("network", "rm", "front")
