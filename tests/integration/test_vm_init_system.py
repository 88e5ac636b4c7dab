"""`--init-system`: an image that boots its own init in a machine, under TCG. One of a script here, from a disk as
clouds have them; systemd with --full, as its root is made by mmdebstrap and boots for a minute."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess

import pytest

from kit import images
from kit.command import Atoll
from kit.sandbox import Sandbox
from kit.waiting import until

pytestmark = pytest.mark.timeout(600)
BOOT = ("--init-system", "--isolation", "vm")
INIT = b"""#!/bin/sh
echo booting as $$ in $container
trap 'echo halting; exit 0' 37
mkdir /sys/fs/cgroup/mine
echo $$ > /sys/fs/cgroup/mine/cgroup.procs
echo +pids > /sys/fs/cgroup/cgroup.subtree_control
mount -t tmpfs own /mnt
echo 1 > /proc/sys/kernel/printk
grep Seccomp: /proc/self/status
exec <&- >&- 2>&-
sleep 0.3
exec </dev/console >/dev/console 2>&1
test -c /dev/console && echo up
while :; do sleep 0.1; done
"""


def _disk(sandbox: Sandbox) -> str:
    """A qcow2 disk as clouds have them: a root in the second of two partitions."""
    root, place = f"{sandbox.scratch}/root", f"{sandbox.scratch}/disk"
    for name in ("etc", "usr", "sbin", "bin", "mnt", "proc", "sys", "dev", "tmp", "run", "var"):
        os.makedirs(f"{root}/{name}")
    shutil.copy("/usr/bin/busybox" if os.path.exists("/usr/bin/busybox") else "/bin/busybox", f"{root}/bin/busybox")
    for name in ("sh", "mkdir", "mount", "grep", "sleep", "cat", "test"):
        os.symlink("busybox", f"{root}/bin/{name}")
    with open(f"{root}/sbin/init", "wb") as stream:
        stream.write(INIT)
    os.chmod(f"{root}/sbin/init", 0o755)
    size = 16 << 20
    with open(f"{place}.fs", "wb") as stream:
        stream.truncate(size)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", root, f"{place}.fs"], check=True)
    entry = struct.Struct("<B3sB3sII")
    with open(f"{place}.fs", "rb") as system, open(f"{place}.raw", "wb") as disk:
        disk.seek(446)
        disk.write(entry.pack(0, b"", 0xEF, b"", 2048, 2048) + entry.pack(0x80, b"", 0x83, b"", 4096, size // 512))
        disk.seek(510)
        disk.write(b"\x55\xaa")
        disk.seek(4096 * 512)
        shutil.copyfileobj(system, disk)
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", f"{place}.raw", place], check=True)
    return place


def test_an_init_of_the_images_own(machines: Atoll, sandbox: Sandbox):
    box, name = machines, "cloud:1"
    box.good("import", "--disk", _disk(sandbox), name)
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
