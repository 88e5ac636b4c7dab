"""Other OCI runtimes behind the whole of Atoll: the same commands, and never a quiet downgrade."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from kit.command import Atoll

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_a_day_with_another_runtime(atoll: Atoll, busybox: str, runtime: str):
    atoll.good("run", "-d", "--name", "web", "--runtime", runtime, "-u", "1000", busybox, "sleep", "600")
    assert atoll.state("web")["Running"]
    assert atoll.good("exec", "web", "id", "-u") == "1000"
    assert "sleep" in atoll.good("exec", "-u", "root", "web", "ps")
    atoll.good("pause", "web")
    assert atoll.state("web")["Paused"]
    atoll.good("unpause", "web")
    atoll.good("stop", "-t", "0", "web")
    atoll.good("start", "web")
    atoll.good("rm", "-f", "web")
    assert atoll("run", "--rm", "--runtime", runtime, busybox, "sh", "-c", "exit 7").code == 7
    atoll("run", "--rm", "--runtime", runtime, busybox, "/no/such").failed(127)
    assert atoll.all() == []
    assert atoll("system", "check").code == 0


def test_gvisor(atoll: Atoll, busybox: str):
    assert "gVisor" in atoll.good("run", "--rm", "--isolation", "gvisor", busybox, "dmesg")
    atoll.good("run", "-d", "--name", "box", "--isolation", "gvisor", busybox, "sleep", "600")
    assert atoll.good("exec", "box", "echo", "in") == "in"
    atoll("exec", "box", "/no/such").failed(127)
    atoll.good("exec", "-d", "box", "sh", "-c", "sleep 0.2; echo outlived > /tmp/done")
    waiting = "until [ -s /tmp/done ]; do sleep 0.05; done; cat /tmp/done; exit 5"
    last = atoll("exec", "box", "sh", "-c", waiting)
    assert (last.out.strip(), last.code) == ("outlived", 5)
    atoll("pause", "box").failed(1, "cannot be paused")
    atoll.good("rm", "-f", "box")


@pytest.mark.parametrize("how", [("--isolation", "gvisor"), ("--runtime", "crun"), ("--runtime", "runc")])
def test_no_runtime_takes_the_hosts_null_device(fresh: Callable[..., Atoll], busybox: str, how: tuple[str, str]):
    """runsc gives the streams of a sandbox to `nobody`, crun those of an exec to its user."""
    box = fresh()  # one that has not looked for a platform yet
    before = os.stat("/dev/null")
    try:
        box.good("run", "-d", "--name", "box", *how, "-u", "1000", busybox, "sleep", "600")
        box.good("exec", "box", "true")
        box.good("exec", "-d", "box", "true")
        box.good("rm", "-f", "box")
        after = os.stat("/dev/null")
        assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    finally:
        os.chown("/dev/null", before.st_uid, before.st_gid)


def test_a_level_that_is_not_there_is_an_error(atoll: Atoll, busybox: str):
    for level in ("kata", "no-such"):
        atoll("run", "--rm", "--isolation", level, busybox, "true").failed(125, f"isolation level '{level}'")
    atoll("run", "--rm", "--runtime", "/no/such", busybox, "true").failed(125, "not there")
    assert atoll.all() == []


def test_other_runtimes_are_for_root(rootless: Atoll, busybox: str):
    rootless.good("pull", "-q", busybox)
    rootless("run", "--rm", "--runtime", "runc", busybox, "true").failed(125, "for root")
    assert rootless.all() == []


def test_the_list_of_levels(atoll: Atoll):
    rows = {line.split()[0]: line for line in atoll.good("isolation", "ls").splitlines()}
    assert rows["container"].split()[1] == "yes"
    assert rows["runc"].split()[1] == "yes"
    assert "kata-runtime" in rows["kata"]
    assert rows["kata"].split()[1] == "no"
