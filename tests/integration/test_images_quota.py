"""Bounds on the writable layer: bytes and inodes, by project quota where there is one, else by a file system of its
own; nothing stays mounted."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator

import pytest

from atoll.base import errors
from atoll.linux import mount as m
from atoll.linux import projectquota
from atoll.snapshots import quota
from atoll.snapshots.store import Snapshots
from kit.command import Atoll
from kit.sandbox import Sandbox

SIZE = 16 << 20


@pytest.fixture
def folder(sandbox: Sandbox) -> Iterator[str]:
    path = os.path.join(sandbox.scratch, f"quota-{time.monotonic_ns()}")
    os.mkdir(path)
    yield path
    subprocess.run(["rm", "-rf", "--one-file-system", path], check=True)


@pytest.fixture
def with_projects(folder: str) -> Iterator[Callable[..., str]]:
    """A function that mounts a file system with project quotas in force."""
    places = []

    def make(kind: str, *words: str) -> str:
        image, place = f"{folder}/{kind}.img", f"{folder}/{kind}"
        os.mkdir(place)
        with open(image, "wb") as file:
            file.truncate(320 << 20)
        tool = shutil.which(f"mkfs.{kind}")
        made = tool is not None and subprocess.run([tool, "-q", *words, image], capture_output=True).returncode == 0
        if not made or subprocess.run(["mount", "-o", "loop,prjquota", image, place], capture_output=True).returncode:
            pytest.skip("this kernel has no project quotas")
        places.append(place)
        return place

    yield make
    for place in places:
        m.umount2(place, 0)


def fill(path: str) -> tuple[int, int]:
    """Write until it is refused: how much, and the error."""
    done = 0
    with open(path, "wb", buffering=0) as file:
        try:
            while done < 4 * SIZE:
                done += file.write(b"x" * 65536)
        except OSError as error:
            return done, error.errno
    return done, 0


def crowd(path: str, most: int) -> tuple[int, int]:
    """Make files until that is refused: how many, and the error."""
    for count in range(most):
        try:
            with open(f"{path}/{count}", "w"):
                pass
        except OSError as error:
            return count, error.errno
    return most, 0


def test_a_file_system_of_its_own(folder: str):
    snapshots = Snapshots(folder + "/store")
    writable = snapshots.create_writable("one", size=SIZE, inodes=200)
    assert quota.is_bounded(snapshots.root, "one")
    image = f"{snapshots.root}/disks/one.img"
    assert os.stat(image).st_blocks * 512 < SIZE // 2, "sparse"
    written, why = fill(writable.upper + "/big")
    assert why == errno.ENOSPC
    assert SIZE // 2 < written <= SIZE
    os.unlink(writable.upper + "/big")
    made, why = crowd(writable.upper, 1000)
    assert why == errno.ENOSPC
    assert 100 < made <= 200
    # After a reboot nothing is mounted: `ensure` mounts it again, and what was written is there.
    m.umount2(writable.path, 0)
    assert os.listdir(writable.path) == []
    quota.ensure(snapshots.root, "one", writable.path)
    quota.ensure(snapshots.root, "one", writable.path)
    assert len(os.listdir(writable.upper)) == made
    snapshots.remove_writable("one")
    assert not os.path.exists(image)
    assert not os.path.exists(writable.path)
    with open("/proc/self/mounts") as mounts:
        assert folder not in mounts.read()


def test_a_project(with_projects: Callable[..., str]):
    place = with_projects("xfs")
    snapshots = Snapshots(place + "/store")
    writable = snapshots.create_writable("one", size=SIZE, inodes=50)
    other = snapshots.create_writable("two")
    assert not quota.is_bounded(snapshots.root, "one")
    written, why = fill(writable.upper + "/big")
    assert why in (errno.EDQUOT, errno.ENOSPC)
    assert SIZE // 2 < written <= SIZE
    assert fill(other.upper + "/big")[0] > SIZE
    os.unlink(writable.upper + "/big")
    assert crowd(writable.upper, 100)[1] in (errno.EDQUOT, errno.ENOSPC)
    fd = os.open(writable.path, os.O_RDONLY)
    project = projectquota.project_of(fd)
    os.close(fd)
    snapshots.remove_writable("one")
    fd = os.open(place, os.O_RDONLY)
    assert projectquota.limits(fd, project) == (0, 0)
    os.close(fd)


def test_a_project_that_would_not_hold_root(with_projects: Callable[..., str]):
    """ext4 lets root pass a project's bounds, and an overlay writes as root: there it is a file system of its own."""
    snapshots = Snapshots(with_projects("ext4", "-F", "-O", "quota,project", "-E", "quotatype=prjquota") + "/store")
    writable = snapshots.create_writable("one", size=SIZE)
    assert quota.is_bounded(snapshots.root, "one")
    assert fill(writable.upper + "/big")[1] == errno.ENOSPC
    snapshots.remove_writable("one")


def test_too_small(folder: str):
    with pytest.raises(errors.InvalidArgument):
        Snapshots(folder + "/store").create_writable("one", size=1000)


def test_a_container_that_may_write_so_much(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    script = "dd if=/dev/zero of=/big bs=64k count=4000 2>&1 | grep -c 'No space left'; rm /big; echo kept > /small"
    bounded = ("--storage-opt", "size=16m")
    assert atoll.good("run", "--name", "one", *bounded, busybox, "sh", "-c", script) == "1"
    assert atoll.good("diff", "one").split("\n") == ["A /small"]
    writable = f"{atoll.data}/snapshots/writable"
    (key,) = os.listdir(writable)

    def reboot() -> None:
        m.umount2(f"{writable}/{key}", 0)

    reboot()
    assert atoll.good("diff", "one").split("\n") == ["A /small"]
    reboot()
    atoll.good("cp", "one:/small", f"{atoll.folder}/small")
    reboot()
    image = atoll.good("commit", "one")
    reboot()
    atoll.good("export", "-o", f"{atoll.folder}/one.tar", "one")
    with tarfile.open(f"{atoll.folder}/one.tar") as archive:
        assert "small" in [name.removeprefix("./") for name in archive.getnames()]
    assert atoll.good("run", "--rm", image, "cat", "/small") == "kept"
    atoll.good("rmi", image)
    reboot()
    atoll.good("start", "-a", "one")
    assert atoll.good("run", "--rm", *bounded, busybox, "echo", "gone") == "gone"
    atoll.good("rm", "one")
    assert os.listdir(f"{atoll.data}/snapshots/disks") == []
    assert atoll.good("system", "check") == "nothing to repair"


def test_an_ordinary_user_may_not(rootless: Atoll, busybox: str):
    rootless.good("pull", "-q", busybox)
    refused = rootless("run", "--rm", "--storage-opt", "size=16m", busybox, "true")
    refused.failed(125, "an ordinary user cannot bound")
    assert rootless.good("system", "check") == "nothing to repair"


def test_a_volume_that_takes_so_much(atoll: Atoll, busybox: str):
    """`volume create -o size=`: the same bound, kept over a reboot, gone with the volume."""
    atoll.good("pull", "-q", busybox)
    atoll.good("volume", "create", "-o", "size=16m", "small")
    place = f"{atoll.data}/volumes/small/_data"
    full = (
        "dd if=/dev/zero of=/v/big bs=64k count=4000 2>&1 | grep -c 'No space left'; rm /v/big; echo kept > /v/file"
    )
    assert atoll.good("run", "--name", "one", "-v", "small:/v", busybox, "sh", "-c", full) == "1"
    assert os.listdir(place) == ["file"]

    def reboot() -> None:
        m.umount2(place, 0)
        assert os.listdir(place) == []

    reboot()
    assert atoll.good("start", "-a", "one") == "1"
    reboot()
    assert atoll.good("run", "--rm", "-v", "small:/v", busybox, "cat", "/v/file") == "kept"
    # An empty one gets what the image has there, with its mode.
    atoll.good("volume", "create", "-o", "size=8m", "filled")
    seen = "stat -c %a /root; ls -ld /root | cut -c1-4; echo x > /root/y"
    assert atoll.good("run", "--rm", "-v", "filled:/root", busybox, "sh", "-c", seen).split() == ["700", "drwx"]
    assert "small" in atoll.good("system", "df", "-v")
    atoll("volume", "rm", "small").failed(1, "in use")
    atoll.good("rm", "one")
    atoll.good("volume", "rm", "small", "filled")
    assert os.listdir(f"{atoll.data}/volumes") == []
    atoll("volume", "create", "-o", "size=1k", "tiny").failed(1, "less than")
    assert os.listdir(f"{atoll.data}/volumes") == []
    assert atoll.good("system", "check") == "nothing to repair"


def test_an_ordinary_users_volume_is_not_bounded(rootless: Atoll):
    rootless("volume", "create", "-o", "size=16m", "small").failed(1, "no quotas to an ordinary user")
