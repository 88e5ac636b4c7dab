"""`--init-system`: an image that boots its own init in a machine, under TCG. One of a script here; systemd with
--full, as its root is made by mmdebstrap and boots for a minute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from kit import images, vm
from kit.command import Atoll
from kit.registry import Registry
from kit.sandbox import Sandbox

pytestmark = pytest.mark.timeout(600)
BOOT = ("--init-system", "--isolation", "vm")
INIT = b"""#!/bin/sh
echo booting as $$ in $container
trap 'echo halting; exit 0' 37
mkdir /sys/fs/cgroup/mine
echo $$ > /sys/fs/cgroup/mine/cgroup.procs
echo +pids > /sys/fs/cgroup/cgroup.subtree_control
mkdir -p /mnt && mount -t tmpfs own /mnt
echo 1 > /proc/sys/kernel/printk
grep Seccomp: /proc/self/status
exec <&- >&- 2>&-
sleep 0.3
exec </dev/console >/dev/console 2>&1
test -c /dev/console && echo up
while :; do sleep 0.1; done
"""


@pytest.fixture(scope="module")
def store(sandbox: Sandbox) -> str:
    """Kernel, closure and templates, for all tests here."""
    return vm.store(sandbox.run_outside)


@pytest.fixture
def machines(fresh: Callable[..., Atoll], store: str) -> Atoll:
    """Root's Atoll, which may emulate, and has a kernel."""
    one = fresh()
    vm.give(one, store)
    return one


def until(ask: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_init_of_the_images_own(machines: Atoll, registry: Registry):
    box = machines
    image = images.busybox({"sbin/init": (0o755, INIT)})
    name = registry.push(image, "init-script")
    box.good("pull", "-q", name)
    box("run", "--init-system", name).failed(125, "--init-system needs a machine")
    box("run", *BOOT, "--init", name).failed(125, "conflicting options: --init and --init-system")
    box("run", *BOOT, "--privileged", name).failed(125, "conflicting options: --privileged and --init-system")
    box.good("run", "-d", "--name", "system", *BOOT, name)
    until(lambda: "up" in box.good("logs", "system").split())
    said = [line.strip() for line in box.good("logs", "system").splitlines()]
    assert said == ["booting as 1 in oci", "Seccomp:\t0", "up"]
    # A process that joins an init which has gone into a cgroup of its own, and has mounted what it wanted.
    assert "/mine" in box.good("exec", "system", "cat", "/proc/self/cgroup")
    assert " /mnt tmpfs " in box.good("exec", "system", "cat", "/proc/mounts")
    box.good("stop", "system")
    assert box.state("system")["ExitCode"] == 0
    assert box.good("logs", "-n", "1", "system").strip() == "halting"
    box.good("rm", "system")


@pytest.mark.full  # a minute to make its root, and one to boot
def test_systemd(machines: Atoll, sandbox: Sandbox):
    box, root = machines, f"{images.cache()}/systemd.tar"
    if not os.path.exists(root):
        mirror = os.environ.get("ATOLL_TEST_MIRROR", "http://deb.debian.org/debian")
        words = ["mmdebstrap", "-q", "--variant=minbase", "--include=systemd-sysv,dbus", "--format=tar", "bookworm"]
        sandbox.run_outside([*words, f"{root}.tmp", mirror], check=True)
        os.rename(f"{root}.tmp", root)
    box.good("import", root, "debian:systemd")
    box.good("run", "-d", "--name", "system", *BOOT, "-m", "400m", "debian:systemd")
    ask = ("exec", "system", "systemctl", "is-system-running")
    # The kernel of the tests has its own mind of a sysctl, which systemd calls degraded.
    until(lambda: box(*ask).out.strip() in ("running", "degraded"), 240)
    until(lambda: "Welcome to" in box.good("logs", "system"))
    assert "dbus.service" in box.good("exec", "system", "systemctl", "list-units", "--no-pager", "--state=running")
    box.good("stop", "-t", "120", "system")
    assert box.state("system")["ExitCode"] == 0
    assert "Exiting container" in box.good("logs", "system")
    box.good("rm", "system")
