"""One suite for all ways of a container's root: what the layers show, where a write goes, what `diff` and `commit`
make of it, and what stays when one is removed."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator

import pytest

from atoll.base import errors
from atoll.linux import mount as m
from atoll.linux import process
from atoll.runtime import rootfs, served
from atoll.snapshots import copying, diff, driver
from atoll.snapshots.store import Snapshots, Writable
from atoll.spec.rootfs import RootPlan
from kit.sandbox import Sandbox

CHAINS = tuple("sha256:" + letter * 64 for letter in "abc")
WAYS = ("overlay", "fuse-overlayfs", "copy")


class Root:
    """A container's root made one way, of three layers; `do` runs a function where it is mounted for that alone."""

    def __init__(self, folder: str, way: str) -> None:
        self.folder, self.way = folder, way
        self.snapshots = Snapshots(folder + "/store", None, way)
        for chain, make in zip(CHAINS, (_bottom, _middle, _top), strict=True):
            os.makedirs(self.snapshots.layer_dir(chain))
            make(self.snapshots.layer_dir(chain))
        self.writable = self.make("web")
        os.makedirs(folder + "/place", exist_ok=True)

    def make(self, key: str) -> Writable:
        writable = self.snapshots.create_writable(key, fuse=self.way == "fuse-overlayfs")
        if self.way == "copy":
            copying.fill(self.snapshots, key, CHAINS)
        return writable

    def do(self, work: Callable[[str], object]) -> None:
        plan = RootPlan(steps=(self.snapshots.root_of(CHAINS, self.writable, self.way),))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                process.unshare(process.CLONE_NEWNS)
                m.set_propagation("/", m.MS_REC | m.MS_PRIVATE)
                place = self.folder + "/place"
                at = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                rootfs.build_root(plan, place, at, served.launch(plan, place))
                work(place)
                code = 0
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0

    def changes(self) -> list[str]:
        found = diff.changes_of(self.snapshots, "web", CHAINS, skip=frozenset({"/dev"}))
        return [f"{one.kind} {one.path}" for one in found]

    def layer(self) -> tarfile.TarFile:
        fd = os.memfd_create("layer")
        with os.fdopen(fd, "rb") as stream:
            facts = diff.layer_of(self.snapshots, "web", CHAINS, fd)
            stream.seek(0)
            data = stream.read()
        assert facts.size == len(data)
        return tarfile.open(fileobj=io.BytesIO(data))


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _bottom(top: str) -> None:
    for name in ("etc", "gone", "hidden", "usr"):
        os.mkdir(f"{top}/{name}")
    _write(f"{top}/etc/passwd", "root")
    _write(f"{top}/etc/group", "root")
    _write(f"{top}/hidden/below", "x")
    _write(f"{top}/gone/with", "x")
    _write(f"{top}/usr/one", "linked")
    os.link(f"{top}/usr/one", f"{top}/usr/two")
    os.symlink("one", f"{top}/usr/link")
    os.mkfifo(f"{top}/usr/fifo", 0o640)
    with open(f"{top}/usr/sparse", "wb") as file:
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"middle")
    _write(f"{top}/usr/set", "program")
    os.chown(f"{top}/usr/set", 3, 4)
    os.chmod(f"{top}/usr/set", 0o4755)
    os.setxattr(f"{top}/usr/set", "user.note", b"kept")
    os.utime(f"{top}/usr/set", ns=(5_000_000_007, 6_000_000_009))


def _middle(top: str) -> None:
    os.mknod(f"{top}/gone", stat.S_IFCHR, 0)
    os.mkdir(f"{top}/hidden")
    os.setxattr(f"{top}/hidden", "trusted.overlay.opaque", b"y")
    _write(f"{top}/hidden/new", "y")


def _top(top: str) -> None:
    os.mkdir(f"{top}/etc")
    os.chmod(f"{top}/etc", 0o711)
    _write(f"{top}/etc/passwd", "top")


@pytest.fixture(params=WAYS)
def root(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Root]:
    folder = f"{sandbox.scratch}/snapshotter-{request.param}"
    os.mkdir(folder)
    yield Root(folder, request.param)
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=True)


def test_the_layers_appear_as_one(root: Root):
    def look(place: str) -> None:
        found = sorted(
            os.path.relpath(os.path.join(folder, name), place)
            for folder, inner, names in os.walk(place)
            for name in inner + names
        )
        assert found == [
            "etc", "etc/group", "etc/passwd", "hidden", "hidden/new", "usr", "usr/fifo", "usr/link", "usr/one",
            "usr/set", "usr/sparse", "usr/two",
        ]  # fmt: skip
        with open(f"{place}/etc/passwd") as file:
            assert file.read() == "top"
        assert stat.S_IMODE(os.stat(f"{place}/etc").st_mode) == 0o711
        info = os.stat(f"{place}/usr/set")
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (3, 4, 0o4755)
        assert info.st_mtime_ns == 6_000_000_009
        assert os.getxattr(f"{place}/usr/set", "user.note") == b"kept"
        assert not [name for name in os.listxattr(f"{place}/hidden") if "overlay" in name]
        assert os.path.samefile(f"{place}/usr/one", f"{place}/usr/two")
        assert os.readlink(f"{place}/usr/link") == "one"
        assert stat.S_ISFIFO(os.stat(f"{place}/usr/fifo").st_mode)
        assert stat.S_IMODE(os.stat(f"{place}/usr/fifo").st_mode) == 0o640
        sparse = os.stat(f"{place}/usr/sparse")
        assert sparse.st_size == 8 << 20
        assert sparse.st_blocks * 512 < 1 << 20
        with open(f"{place}/usr/sparse", "rb") as raw:
            raw.seek(4 << 20)
            assert raw.read(6) == b"middle"

    root.do(look)
    assert root.changes() == []


def test_a_write_goes_to_the_writable_layer_alone(root: Root):
    before = _facts_of(root)
    root.do(_change)
    assert _facts_of(root) == before
    with open(f"{root.writable.upper}/etc/passwd") as file:
        assert file.read() == "TOP"


def _change(place: str) -> None:
    times = os.stat(f"{place}/etc/passwd")
    with open(f"{place}/etc/passwd", "r+") as file:  # the same length, and then the same time
        file.write("TOP")
    os.utime(f"{place}/etc/passwd", ns=(times.st_atime_ns, times.st_mtime_ns))
    os.unlink(f"{place}/hidden/new")
    os.chmod(f"{place}/usr", 0o700)
    os.unlink(f"{place}/usr/link")
    os.mkdir(f"{place}/usr/link")
    _write(f"{place}/usr/link/inside", "z")
    os.mkdir(f"{place}/dev")
    _write(f"{place}/added", "new")
    os.link(f"{place}/added", f"{place}/again")


def _facts_of(root: Root) -> list[tuple[str, int, int]]:
    layers = f"{root.snapshots.root}/layers"
    return sorted(
        (path, info.st_mtime_ns, info.st_size)
        for folder, inner, names in os.walk(layers)
        for path in [os.path.join(folder, name) for name in inner + names]
        for info in [os.lstat(path)]
    )


def test_what_changed_as_a_list_and_as_a_layer(root: Root):
    root.do(_change)
    assert root.changes() == [
        "A /added", "A /again", "C /etc", "C /etc/passwd", "C /hidden", "D /hidden/new", "C /usr", "C /usr/link",
        "A /usr/link/inside",
    ]  # fmt: skip
    with root.layer() as archive:
        members = {one.name: one for one in archive.getmembers()}
        # An overlay hides the link below a new directory by a mark, which a copy has no need of.
        names = [name for name in sorted(members) if name not in ("dev", "usr/link/.wh..wh..opq")]
        assert names == [
            "added", "again", "etc", "etc/passwd", "hidden", "hidden/.wh.new", "usr", "usr/link", "usr/link/inside",
        ]  # fmt: skip
        assert members["again"].islnk()
        assert members["again"].linkname == "added"
        assert (members["usr"].mode, members["etc"].mode) == (0o700, 0o711)
        assert members["usr/link"].isdir()
        passwd = archive.extractfile("etc/passwd")
        assert passwd is not None
        assert passwd.read() == b"TOP"


def test_removal_frees_and_others_stay(root: Root):
    root.do(_change)
    other = root.make("other")
    root.snapshots.remove_writable("web")
    root.snapshots.remove_writable("web")
    assert os.listdir(f"{root.snapshots.root}/writable") == ["other"]
    assert os.listdir(f"{root.snapshots.root}/trash") == []
    assert os.path.isdir(other.upper)
    with pytest.raises(errors.Conflict):
        root.make("other")


def test_what_was_chosen_stays(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    place = f"{sandbox.scratch}/chosen"
    store = Snapshots(place, None, "auto")
    assert driver.recorded(place) is None
    monkeypatch.setattr(driver, "has_overlay", lambda root, *, rootless: False)
    os.mkdir(place)
    assert store.driver() == "fuse-overlayfs", "what shows layers goes before a copy of them"
    monkeypatch.setattr(driver, "find_fuse_overlayfs", lambda: None)
    assert store.driver() == "copy"
    assert os.listdir(place) == [], "asking alone decides nothing"
    assert store.driver(record=True) == "copy"
    monkeypatch.undo()
    assert driver.has_overlay(place, rootless=False), "this machine's kernel has it"
    assert store.driver() == "copy", "and yet nothing changes without being asked for"
    assert Snapshots(place, None, "overlay").driver() == "overlay"
    assert os.listdir(place) == ["driver"]
    assert Snapshots(place + "/fresh", None, "auto").driver() == "overlay"
    with pytest.raises(errors.Unsupported, match="one map of ids"):
        driver.check("fuse-overlayfs", other_map=True)
    subprocess.run(["rm", "-rf", place], check=True)
