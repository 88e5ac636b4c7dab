"""Containers whose root a process shows: `[storage] driver = "fuse-overlayfs"`, of root and of ordinary users."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import time
from collections.abc import Iterator

import pytest

from kit import processes, system
from kit.command import Atoll
from kit.sandbox import Sandbox

SCRIPT = "echo new > /new; rm /etc/group; chmod 700 /usr; mkdir /usr/fresh; grep -c fuse.fuse-overlayfs /proc/mounts"


@pytest.fixture(autouse=True)
def open_to_all(sandbox: Sandbox) -> Iterator[None]:
    """/dev/fuse as udev makes it; on a bare machine it is root's alone."""
    node = f"{sandbox.scratch}/fuse"
    os.mknod(node, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
    os.chmod(node, 0o666)
    system.mount(node, "/dev/fuse", flags=system.MS_BIND)
    yield
    system.umount("/dev/fuse")
    os.unlink(node)


def _choose(anyone: Atoll, driver: str) -> None:
    with open(anyone.config, "w") as file:
        file.write(f'[storage]\ndriver = "{driver}"\n')


def _servers() -> list[int]:
    found = processes.descendants(os.getpid())
    return [one.pid for one in found if one.title.startswith("fuse-overlayfs ") and one.state != "Z"]


def _soon_none() -> bool:
    """The kernel tells a server of the end of its file system; it goes a moment later."""
    deadline = time.monotonic() + 10
    while _servers() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not _servers()


@pytest.mark.parametrize("whose", ["atoll", "rootless", "single"])
def test_a_container_with_a_served_root(request: pytest.FixtureRequest, busybox: str, whose: str):
    anyone: Atoll = request.getfixturevalue(whose)
    anyone.good("pull", "-q", busybox)
    _choose(anyone, "fuse-overlayfs")
    assert anyone.good("run", "--name", "one", busybox, "sh", "-c", SCRIPT) == "1"
    assert _soon_none()
    changes = ["C /etc", "D /etc/group", "A /new", "C /usr", "A /usr/fresh"]
    assert anyone.good("diff", "one").split("\n") == changes
    assert anyone.inspect("one")["GraphDriver"]["Name"] == "fuse-overlayfs"
    anyone.good("cp", "one:/new", f"{anyone.folder}/copied")
    anyone.good("cp", f"{anyone.folder}/copied", "one:/usr/fresh/again")
    assert anyone.good("commit", "one", "me/app").startswith("sha256:")
    _choose(anyone, "overlay")  # what a container was made with stays
    assert anyone.good("start", "-a", "one").split("\n")[-1] == "1"
    # The layer that was committed is like any other's.
    seen = "cat /new /usr/fresh/again; ls /etc/group 2> /dev/null; ls -a /usr/fresh"
    shown = anyone.good("run", "--rm", "me/app", "sh", "-c", seen).split()
    assert shown == ["new", "new", ".", "..", "again"]
    _choose(anyone, "fuse-overlayfs")
    assert anyone.good("run", "--rm", "me/app", "sh", "-c", seen).split() == shown
    assert anyone.good("run", "--rm", "--read-only", "me/app", "sh", "-c", "echo > /no || echo refused") == "refused"
    told = json.loads(anyone.good("info", "--format", "json"))
    assert (told["Driver"], told["DriverStatus"][1][1]) == ("fuse-overlayfs", "fuse-overlayfs (fuse-overlayfs)")
    # An image of several layers is shown by a second server.
    mount = ("--mount", "type=image,source=me/app,target=/mnt")
    seen = "cat /mnt/new; ls -a /mnt/usr/fresh; grep -c fuse.fuse-overlayfs /proc/mounts"
    assert anyone.good("run", "--rm", *mount, busybox, "sh", "-c", seen).split() == ["new", ".", "..", "again", "2"]
    assert _soon_none()
    anyone.good("rm", "one")
    assert os.listdir(f"{anyone.data}/snapshots/writable") == []
    assert anyone.good("system", "check") == "nothing to repair"


@pytest.mark.parametrize("whose", ["atoll", "rootless"])
def test_the_server_lives_as_long_as_the_container(request: pytest.FixtureRequest, busybox: str, whose: str):
    anyone: Atoll = request.getfixturevalue(whose)
    anyone.good("pull", "-q", busybox)
    _choose(anyone, "fuse-overlayfs")
    anyone.good("run", "-d", "--name", "web", busybox, "sleep", "1000")
    (server,) = _servers()
    # Neither seen nor reached from inside, and of the host it has programs and layers only.
    assert "fuse-overlayfs" not in anyone.good("exec", "web", "ps")
    assert {"l", "w", "usr", "proc"} <= set(os.listdir(f"/proc/{server}/root/"))
    assert "home" not in os.listdir(f"/proc/{server}/root/")
    anyone.good("exec", "web", "sh", "-c", "echo written > /file; mkdir -p /a/b; mv /a /c; ln /file /c/b/link")
    # A monitor that is killed takes nothing with it.
    for monitor in processes.monitors(anyone.run_root):
        with contextlib.suppress(ProcessLookupError):  # its fork that was just ending has its title
            os.kill(monitor.pid, signal.SIGKILL)
    assert anyone.good("exec", "web", "cat", "/c/b/link") == "written"
    anyone.good("stop", "-t", "0", "web")
    assert _soon_none()
    anyone.good("start", "web")
    (again,) = _servers()
    assert again != server
    assert anyone.good("exec", "web", "cat", "/file") == "written"
    # Without its server the root answers no more, and the container can be removed all the same.
    os.kill(again, signal.SIGKILL)
    refused = anyone("exec", "web", "cat", "/file")
    assert refused.code != 0
    assert "not connected" in refused.err or "abort" in refused.err
    anyone.good("rm", "-f", "web")
    assert _soon_none()


def test_where_it_cannot_be_had(rootless: Atoll, atoll: Atoll, busybox: str):
    for anyone in (atoll, rootless):
        anyone.good("pull", "-q", busybox)
        _choose(anyone, "fuse-overlayfs")
    atoll("run", "--rm", "--userns", "auto", busybox, "true").failed(125, "one map of ids only")
    os.chmod("/dev/fuse", 0o600)
    rootless("run", "--rm", busybox, "true").failed(125, "/dev/fuse", "mode 0666")
    _choose(rootless, "auto")
    assert rootless.good("run", "--rm", busybox, "echo", "overlay") == "overlay"
    rootless.good("system", "check")
