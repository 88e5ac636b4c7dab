"""Other kernels at the level `vm`: Debian's, which is a kernel of modules. A boot of it takes half a minute here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kit import kernels
from kit.command import Atoll
from kit.sandbox import Sandbox

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
VM = ("--isolation", "vm")
BOOT = 300.0


def test_debians_kernel_boots_is_restored_and_shows_volumes(
    fresh: Callable[..., Atoll], busybox: str, sandbox: Sandbox
):
    box = fresh()
    kernels.allow(box)
    source = kernels.package(sandbox.run_outside)
    digest = box.good("vm", "kernel", "install", "--from", source, timeout=BOOT)
    assert box.good("vm", "kernel", "install", "--from", source, "--digest", digest, timeout=BOOT) == digest
    box.good("pull", "-q", busybox)
    script = "uname -r; hostname; grep -c tsc_early_khz /proc/cmdline"
    for name in ("one", "two"):  # the first makes the template, the other is restored from it
        said = box.good("run", "--rm", "--hostname", name, *VM, busybox, "sh", "-c", script, timeout=BOOT).split()
        assert said[0].endswith("-cloud-amd64")
        assert said[1:] == [name, "1"]
    box.good("run", "--rm", *VM, "-v", "kept:/d", busybox, "sh", "-c", "echo word > /d/file", timeout=BOOT)
    assert box.good("run", "--rm", "-v", "kept:/d", busybox, "cat", "/d/file") == "word"
    box.good("run", "-d", "--name", "web", *VM, "-m", "128m", busybox, "sleep", "600", timeout=BOOT)
    box.good("update", "-m", "64m", "web")
    assert box.good("exec", "web", "cat", "/sys/fs/cgroup/memory.max") == str(64 << 20)
    box.good("rm", "-f", "web")
