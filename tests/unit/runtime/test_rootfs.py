"""Mounting by plan in a throw-away user and mount namespace: what lands where, and what a hostile root cannot do."""

from __future__ import annotations

import os
import stat
import traceback
from collections.abc import Callable

import pytest

from atoll.base import errors
from atoll.linux import mount as m
from atoll.linux import process, userns
from atoll.linux.root import Root
from atoll.runtime import devices, rootfs
from atoll.spec.rootfs import Bind, Directory, Mask, RootPlan, Symlink, Tmpfs
from atoll.spec.runtime import Mount


def inside(body: Callable[[], None]) -> None:
    """Run `body` in a child with user and mount namespaces of its own; its exception is the test's."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            uid, gid = os.geteuid(), os.getegid()
            userns.enter([(0, uid, 1)], [(0, gid, 1)], single=True, flags=process.CLONE_NEWNS)
            m.set_propagation("/", m.MS_REC | m.MS_PRIVATE)
            body()
            code = 0
        except BaseException:
            os.write(write_end, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(code)
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        report = stream.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, report


def build(plan: RootPlan, mountpoint: str) -> Root:
    """`build_root` with the mount point opened as the init does."""
    place = os.open(mountpoint, os.O_PATH | os.O_DIRECTORY)
    try:
        return rootfs.build_root(plan, mountpoint, place)
    finally:
        os.close(place)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "point").mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("content")
    return tmp_path


def entry(destination: str, fstype: str, source: str, *options: str) -> Mount:
    return Mount(destination=destination, type=fstype, source=source, options=options)


def test_a_plan_becomes_a_tree(place):
    plan = RootPlan(
        steps=(
            Tmpfs(target="/", mode=0o755),
            Directory(target="/etc", mode=0o750),
            Bind(source=str(place / "source"), target="/data/deep", read_only=True),
            Bind(source=str(place / "absent"), target="/x", optional=True),
            Symlink(target="/bin", link="usr/bin"),
            Mask(target="/data/deep/file"),
            Tmpfs(target="/tmp", mode=0o1777, size=65536),
        )
    )

    def body() -> None:
        with build(plan, str(place / "point")):
            at = str(place / "point")
            assert os.readlink(f"{at}/bin") == "usr/bin"
            assert stat.S_IMODE(os.stat(f"{at}/etc").st_mode) == 0o750
            assert stat.S_IMODE(os.stat(f"{at}/tmp").st_mode) == 0o1777
            assert os.statvfs(f"{at}/data/deep").f_flag & os.ST_RDONLY
            assert stat.S_ISCHR(os.stat(f"{at}/data/deep/file").st_mode)
            assert os.listdir(at + "/data/deep") == ["file"]

    inside(body)
    assert os.listdir(place / "point") == []


def test_mounts_in_their_order_with_their_options(place):
    def body() -> None:
        with build(RootPlan(steps=(Tmpfs(target="/"),)), str(place / "point")) as root:
            mounts = (
                entry("/a", "tmpfs", "tmpfs", "size=64k", "mode=700", "nosuid", "ro"),
                entry("/b", "bind", str(place / "source"), "rbind", "ro"),
                entry("/b/file", "bind", str(place / "source/file"), "bind"),
                entry("/c", "tmpfs", "tmpfs"),
            )
            rootfs.mount_all(root, mounts, "/", ())
            at = str(place / "point")
            assert stat.S_IMODE(os.stat(f"{at}/a").st_mode) == 0o700
            assert os.statvfs(f"{at}/a").f_flag & os.ST_RDONLY
            assert os.statvfs(f"{at}/b").f_flag & os.ST_RDONLY
            assert not os.statvfs(f"{at}/b/file").f_flag & os.ST_RDONLY
            assert stat.S_IMODE(os.stat(f"{at}/c").st_mode) == 0o755

    inside(body)


def test_links_in_the_root_lead_into_the_root(place):
    """CVE-2021-30465: a target below a link, absolute or upwards, that on the host would be somewhere else."""
    host = place / "host"
    host.mkdir()

    def body() -> None:
        with build(RootPlan(steps=(Tmpfs(target="/"),)), str(place / "point")) as root:
            at = str(place / "point")
            os.makedirs(f"{at}{host}")
            os.symlink(str(host), f"{at}/absolute")
            os.symlink("../../../../../../.." + str(host), f"{at}/upwards")
            mounts = (entry("/absolute/x", "tmpfs", "tmpfs"), entry("/upwards/y", "tmpfs", "tmpfs"))
            rootfs.mount_all(root, mounts, "/", ())
            assert sorted(os.listdir(f"{at}{host}")) == ["x", "y"]
            assert os.path.ismount(f"{at}{host}/x")

    inside(body)
    assert os.listdir(host) == []


def test_a_dangling_link_is_no_place_to_mount(place):
    def body() -> None:
        with build(RootPlan(steps=(Tmpfs(target="/"),)), str(place / "point")) as root:
            os.symlink("/nowhere", str(place / "point/dangling"))
            with pytest.raises(errors.AtollError, match="dangling"):
                rootfs.mount_all(root, (entry("/dangling/x", "tmpfs", "tmpfs"),), "/", ())

    inside(body)


def test_an_unknown_option_is_named(place):
    def body() -> None:
        with build(RootPlan(steps=(Tmpfs(target="/"),)), str(place / "point")) as root:
            with pytest.raises(errors.AtollError, match="nonsense"):
                rootfs.mount_all(root, (entry("/a", "tmpfs", "tmpfs", "nonsense"),), "/", ())

    inside(body)


def test_hidden_and_read_only_paths(place):
    def body() -> None:
        with build(RootPlan(steps=(Tmpfs(target="/"),)), str(place / "point")) as root:
            at = str(place / "point")
            os.mkdir(f"{at}/dir")
            for name in ("dir/inner", "file", "fixed"):
                with open(f"{at}/{name}", "w") as stream:
                    stream.write("secret")
            rootfs.hide(root, ("/dir", "/file", "/absent", "/file/below"))
            rootfs.make_read_only(root, ("/fixed", "/absent"))
            assert os.listdir(f"{at}/dir") == []
            with open(f"{at}/file") as stream:
                assert stream.read() == ""
            with pytest.raises(OSError, match="Read-only"):
                os.open(f"{at}/fixed", os.O_WRONLY)

    inside(body)


def test_devices_are_bound_where_they_cannot_be_made(place):
    def body() -> None:
        plan = RootPlan(steps=(Tmpfs(target="/"), Tmpfs(target="/dev")))
        with build(plan, str(place / "point")) as root:
            devices.make_devices(root, (), by_bind=True)
            devices.make_links(root, own_devpts=True)
            at = str(place / "point/dev")
            for device in devices.DEFAULT_DEVICES:
                found = os.stat(f"{at}/{device.path.removeprefix('/dev/')}")
                assert found.st_rdev == os.makedev(device.major, device.minor)
            assert os.readlink(f"{at}/ptmx") == "pts/ptmx"
            with open(f"{at}/null", "w") as stream:
                stream.write("x")

    inside(body)


def test_a_false_null_device_is_not_used(place):
    def body() -> None:
        with open(place / "fake", "w"):
            pass
        tree = m.open_tree(str(place / "fake"))
        target = os.open("/dev/null", os.O_PATH)
        m.move_mount(tree, target)
        with pytest.raises(OSError, match="not the null device"):
            rootfs.open_null()

    inside(body)


def test_tmpcopyup_keeps_what_was_there(place):
    def body() -> None:
        steps = (Bind(source=str(place / "source"), target="/", read_only=False),)
        with build(RootPlan(steps=steps), str(place / "point")) as root:
            at = str(place / "point")
            os.mkdir(f"{at}/sub")
            os.symlink("file", f"{at}/sub/link")
            os.mkfifo(f"{at}/sub/fifo")
            os.chmod(f"{at}/sub", 0o711)
            rootfs.mount_all(root, (entry("/sub", "tmpfs", "tmpfs", "tmpcopyup"),), "/", ())
            assert os.path.ismount(f"{at}/sub")
            assert os.readlink(f"{at}/sub/link") == "file"
            assert stat.S_ISFIFO(os.stat(f"{at}/sub/fifo").st_mode)
            assert stat.S_IMODE(os.stat(f"{at}/sub").st_mode) == 0o711

    inside(body)


def test_the_root_handle_is_what_everything_goes_through(place):
    with Root.open(str(place)) as root:
        os.close(root.make_directories("/new/deep"))
    assert (place / "new/deep").is_dir()
