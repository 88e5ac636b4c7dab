"""Volumes of containers in machines: what is seen of them, and how they travel with an archive.

Machines with volumes boot anew, so what takes one is asked of one, in order; what is refused is asked of archives
that no machine was needed for.
"""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections.abc import Callable

import pytest

from atoll.engine.checkpoints import archive
from atoll.engine.checkpoints.archive import Container, Manifest, VolumeFacts, VolumeMount
from atoll.vm import disk
from kit import kernels, steps, vm
from kit.command import PATIENCE, Atoll
from kit.sandbox import Sandbox
from kit.waiting import until

pytestmark = pytest.mark.timeout(600)
BOOT = 240.0 * PATIENCE
EARLY = 44
"""Steps of an import that are before its machine is started, at least."""
ALONE = ("--isolation", "vm", "--network", "none")


@pytest.fixture
def make(fresh: Callable[..., Atoll], machine_store: str, busybox: str) -> Callable[[], Atoll]:
    """A function that makes root's Atolls, which may emulate, with an image."""

    def made() -> Atoll:
        one = fresh()
        vm.give(one, machine_store)
        one.good("pull", "-q", busybox)
        return one

    return made


WRITE = (
    "cd /data; test -e /ready || { echo kept > file; ln file second; ln -s file link; chown 7:8 file;"
    "chmod 4711 file;"
    "mkfifo fifo; dd if=/dev/zero of=holes bs=1 count=1 seek=8388608 2>/dev/null; touch .wh.name; mkdir -p deep/er;"
    "echo a > deep/er/a; chmod 1777 deep; echo anonymous > /anonymous/file; touch /ready; };"
    "while :; do date > /data/now; sleep 0.2; done"
)


def _look(place: str) -> dict[str, tuple[object, ...]]:
    """All that a volume's copy must have of it."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, names in os.walk(place):
        for name in [*folders, *names]:
            path = f"{folder}/{name}"
            info = os.lstat(path)
            size = (info.st_size, info.st_blocks) if os.path.isfile(path) else ()
            found[os.path.relpath(path, place)] = (info.st_mode, info.st_uid, info.st_gid, info.st_nlink, *size)
    found.pop("now", None)
    return found


def test_volumes_travel_with_an_archive(make: Callable[[], Atoll], busybox: str) -> None:
    """Without memory: the machine holds still while they are copied, goes on, and another one begins with them."""
    _travel(make(), make(), busybox)


@pytest.mark.full
def test_an_ordinary_users_volumes(fresh_rootless: Callable[..., Atoll], busybox: str, sandbox: Sandbox) -> None:
    """The same, by a server of files in his user namespace."""
    box, there = fresh_rootless("atoll-full"), fresh_rootless("atoll-full")
    for one in (box, there):
        kernels.allow(one)
    box.good("vm", "kernel", "install", "--from", kernels.wheel(sandbox.run_outside))
    assert there.user is not None
    os.mkdir(there.data, 0o700)
    os.chown(there.data, there.user.uid, there.user.gid)
    os.symlink(f"{box.data}/vm", f"{there.data}/vm")
    for one in (box, there):
        one.good("pull", "-q", busybox)
    _travel(box, there, busybox)


def _travel(box: Atoll, there: Atoll, busybox: str) -> None:
    out, here = f"{box.folder}/volumes.tar", f"{box.folder}/bound"
    os.mkdir(here)
    with open(f"{here}/file", "w") as stream:
        stream.write("of the host\n")
    flags = ("-v", "named:/data", "-v", "/anonymous", "-v", f"{here}:/bound:ro", "-v", f"{here}/file:/one:ro")
    flags += ("--mount", "type=tmpfs,target=/tm,tmpfs-size=1m", "-v", "named:/seen:ro")
    box.good("run", "-d", "--name", "web", *ALONE, *flags, busybox, "sh", "-c", WRITE, timeout=BOOT)
    look = "until test -e /ready; do sleep 0.1; done; cat /one /bound/file; grep -c ' /tm tmpfs' /proc/mounts;"
    look += "for p in /bound/x /seen/x /one; do echo no > $p; done; echo yes > /tm/x"
    done = box("exec", "web", "sh", "-c", look)
    assert (done.out, done.err.count("Read-only")) == ("of the host\n" * 2 + "1\n", 3), done
    box("checkpoint", "web").failed(1, r"with its memory.*its volumes", "--memory=false")
    source = f"{box.data}/volumes/named/_data"
    os.setxattr(f"{source}/file", "user.mine", b"\x00mine")
    done = box("checkpoint", "--export", out, "--memory=false", "--leave-running", "web")
    assert done.code == 0, done
    assert f"WARNING: what is bound to /bound ({here}) is not in the archive" in done.err
    now = box.good("exec", "web", "cat", "/data/now")
    until(lambda: box.good("exec", "web", "cat", "/data/now") not in ("", now))
    box.good("checkpoint", "--memory=false", "web")
    assert box.wait_for("web", "exited")["ExitCode"] == 0
    box("restore", "--import", out).failed(1, "volume named exists already", "--rename-volume named=OTHER")
    bound = ("-v", f"{here}:/bound:ro", "-v", f"{here}/file:/one:ro", "--network", "none")
    there.good("restore", "--import", out, "--name", "web", "--rename-volume", "named=other", *bound, timeout=BOOT)
    told = there.good("exec", "web", "cat", "/data/file", "/seen/file", "/anonymous/file")
    assert told.split() == ["kept", "kept", "anonymous"]
    assert there("exec", "web", "touch", "/seen/x").code == 1
    copy = f"{there.data}/volumes/other/_data"
    assert _look(copy) == _look(source)
    assert os.path.samefile(f"{copy}/file", f"{copy}/second")
    assert os.getxattr(f"{copy}/file", "user.mine") == b"\x00mine"
    mounts = {one["Destination"]: one for one in there.inspect("web")["Mounts"]}  # type: ignore[attr-defined]
    assert (mounts["/data"]["Name"], mounts["/seen"]["RW"]) == ("other", False)
    there.good("rm", "-f", "-v", "web")
    assert there.good("volume", "ls", "-q") == "other"  # nobody's went with its container
    box.good("rm", "-f", "web")
    for one in (there, box):
        assert one("system", "check").code == 0


def _volumes(box: Atoll) -> list[str]:
    """What lies where volumes are, whole or not."""
    place = f"{box.data}/volumes"
    return os.listdir(place) if os.path.isdir(place) else []


def _archive(path: str, store: str, image: str, content: bytes, *, name: str = "data") -> None:
    """An archive of a container that sleeps, with one volume, of that content."""
    place = f"{path}.parts"
    if not os.path.isdir(place):
        os.makedirs(place)
        disk.make(store, f"{place}/disk.img", 64 << 20)
    with open(f"{place}/volume-0.tar", "wb") as stream:
        stream.write(content)
    made = Manifest(
        image=image,
        platform="linux/amd64",
        container=Container(entrypoint=("sleep",), cmd=("600",)),
        machine=None,
        parts={
            "disk.img": archive.part_of(f"{place}/disk.img"),
            "volume-0.tar": archive.part_of(f"{place}/volume-0.tar", holes=False),
        },
        volumes=(VolumeFacts(name=name, mounts=(VolumeMount(destination="/data"),)),),
    )
    with open(path, "wb") as out:
        archive.write(out.fileno(), made, place)


def _tar(*members: tuple[str, dict[str, object], bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for name, how, data in members:
            one = tarfile.TarInfo(name)
            one.size = len(data)
            for key, value in how.items():
                setattr(one, key, value)
            out.addfile(one, io.BytesIO(data))
    return buffer.getvalue()


HOSTILE = {
    "a name that leads out": _tar(("../evil", {}, b"x")),
    "a link in the way": _tar(
        ("way", {"type": tarfile.SYMTYPE, "linkname": "/SCRATCH"}, b""), ("way/evil", {}, b"x"), ("..", {}, b"x")
    ),
    "a hard link out": _tar(("evil", {"type": tarfile.LNKTYPE, "linkname": "../../volume.json"}, b"")),
    "no archive": b"\1" * 4096,
    "cut off": _tar(("file", {}, b"x" * 5000))[:2048],
}


def test_hostile_volumes_are_refused_and_leave_nothing(
    make: Callable[[], Atoll], machine_store: str, sandbox: Sandbox
) -> None:
    box, path = make(), f"{sandbox.scratch}/hostile.tar"
    image = box.good("images", "-q", "--no-trunc")
    for what, content in HOSTILE.items():
        _archive(
            path, machine_store, image, content.replace(b"/SCRATCH", sandbox.scratch.encode()[:8].ljust(8, b"\0"))
        )
        done = box("restore", "--import", path)
        assert done.code == 1, (what, done)
        assert _volumes(box) == [], what
        assert box.all() == []
        assert not os.path.exists(f"{sandbox.scratch}/evil")
    _archive(path, machine_store, image, _tar(("file", {}, b"x")), name="..")
    box("restore", "--import", path).failed(1, "names of volumes that are none")
    assert box("system", "check").code == 0


def test_an_import_that_is_killed_leaves_all_or_nothing(
    make: Callable[[], Atoll], machine_store: str, busybox: str, sandbox: Sandbox, rng: random.Random, full: bool
) -> None:
    """SIGKILL before a step: the container with its volume and disk, or neither, and the next import is right."""
    box, path = make(), f"{sandbox.scratch}/killed.tar"
    _archive(path, machine_store, box.good("images", "-q", "--no-trunc"), _tar(("file", {}, b"kept")))
    words = ("restore", "--import", path, "--name", "web", "--network", "none")
    box.good("create", "--name", "first", busybox, "true")  # what is tried once in a store is tried by it
    box.good("rm", "first")
    chosen = sorted(rng.sample(range(1, EARLY), 3))
    if full:
        chosen = list(range(1, steps.run_killed(box, 0, words, BOOT) + 1))
        box.good("rm", "-f", "web")
        box.good("volume", "rm", "data")
        assert len(chosen) > EARLY
    for number in chosen:
        steps.run_killed(box, number, words, BOOT)
        assert os.path.exists(f"{box.folder}/steps/killed")
        box("system", "check", "--repair")
        assert box("system", "check").code == 0
        names = _volumes(box)
        assert names == (["data"] if box.all() else []), (number, names, box.all())
        if names:
            with open(f"{box.data}/volumes/data/_data/file") as stream:
                assert stream.read() == "kept"
            box.good("rm", "-f", "web")
            box.good("volume", "rm", "data")
