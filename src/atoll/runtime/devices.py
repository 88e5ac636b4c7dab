"""`/dev`: the standard nodes and links, those the spec adds, and the console.

Holds: `make_devices`, `make_links`, `fill` (both, ahead of time), `bind_console`. Works on a descriptor of the
container's `/dev` taken right after its mount, so that a swap of `/dev` or of a node in it meets nothing
(CVE-2025-52565, CVE-2025-62161).
Source: config-linux.md "Default Devices", runtime-linux.md "Dev symbolic links".
"""

from __future__ import annotations

import errno
import os
import stat

from atoll.base import errors
from atoll.linux import mount as m
from atoll.linux.root import Root
from atoll.spec.runtime import Device

DEFAULT_DEVICES = tuple(
    Device(path=f"/dev/{name}", type="c", major=major, minor=minor, file_mode=0o666)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def make_devices(root: Root, devices: tuple[Device, ...], *, by_bind: bool) -> None:
    """Make the default devices and `devices`. In a user namespace nodes cannot be made: `by_bind` binds the host's,
    whose numbers are checked first. Raises AtollError naming the device."""
    wanted = {device.path: device for device in (*DEFAULT_DEVICES, *devices)}
    for device in wanted.values():
        try:
            parent, _, name = device.path.rstrip("/").rpartition("/")
            with Root(root.make_directories(parent or "/")) as directory:
                if by_bind and device.type != "p":
                    _bind_node(directory, name, device)
                else:
                    _make_node(directory, name, device)
        except OSError as error:
            raise errors.from_os_error(error, f"make device {device.path} in the container") from error


def _make_node(directory: Root, name: str, device: Device) -> None:
    mode = 0o666 if device.file_mode is None else stat.S_IMODE(device.file_mode)
    kind = _KINDS[device.type]
    number = os.makedev(device.major or 0, device.minor or 0)
    try:
        os.mknod(name, kind | mode, number, dir_fd=directory.fd)
    except FileExistsError:
        # The image may bring the node (a /dev that is not ours): it must be the very device, never a link.
        info = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        if stat.S_IFMT(info.st_mode) != kind or (kind != stat.S_IFIFO and info.st_rdev != number):
            raise
        return  # as it is: one that is mounted from the host (`-v /dev/null:/dev/null`) is the host's to give away
    os.chown(name, device.uid or 0, device.gid or 0, dir_fd=directory.fd, follow_symlinks=False)
    os.chmod(name, mode, dir_fd=directory.fd)  # the umask has cut the mode given to mknod


def _bind_node(directory: Root, name: str, device: Device) -> None:
    source = os.open(device.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        info = os.fstat(source)
        expected = os.makedev(device.major or 0, device.minor or 0)
        if stat.S_IFMT(info.st_mode) != _KINDS[device.type] or info.st_rdev != expected:
            raise OSError(errno.ENODEV, "the host's node is another device", device.path)
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o666, dir_fd=directory.fd))
        except FileExistsError:
            pass
        place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
        try:
            tree = m.open_tree("", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH, dir_fd=source)
            try:
                m.move_mount(tree, place, device.path)
            finally:
                os.close(tree)
        finally:
            os.close(place)
    finally:
        os.close(source)


def make_links(root: Root, *, own_devpts: bool) -> None:
    """The links of runtime-linux.md, and `ptmx` into the container's own devpts. What the image brings under these
    names stays. Raises OSError."""
    with Root(root.make_directories("/dev")) as dev:
        _make_links(dev, own_devpts=own_devpts)


def fill(dev: Root, *, own_devpts: bool) -> None:
    """The default devices and the links in an empty `/dev` that is not mounted yet. Raises OSError."""
    for device in DEFAULT_DEVICES:
        _make_node(dev, device.path.rpartition("/")[2], device)
    _make_links(dev, own_devpts=own_devpts)


def _make_links(dev: Root, *, own_devpts: bool) -> None:
    for name, target in _LINKS:
        _link(dev, name, target)
    if os.path.exists("/proc/kcore"):
        _link(dev, "core", "/proc/kcore")
    if own_devpts:
        try:
            os.unlink("ptmx", dir_fd=dev.fd)  # another instance's multiplexer would open foreign terminals
        except FileNotFoundError:
            pass
        os.symlink("pts/ptmx", "ptmx", dir_fd=dev.fd)


def _link(directory: Root, name: str, target: str) -> None:
    try:
        os.symlink(target, name, dir_fd=directory.fd)
    except FileExistsError:
        pass


def bind_console(root: Root, devpts_fd: int, number: int, slave: int) -> None:
    """Bind the terminal's slave on `/dev/console`. The node is opened in our own devpts and must be the very device
    the slave is (CVE-2025-52565). Raises OSError."""
    node = os.open(str(number), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=devpts_fd)
    try:
        if os.fstat(node).st_rdev != os.fstat(slave).st_rdev:
            raise OSError(errno.ENODEV, "not the terminal that was opened", f"/dev/pts/{number}")
        with Root(root.make_directories("/dev")) as dev:
            try:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open("console", flags, 0o600, dir_fd=dev.fd))
            except FileExistsError:
                pass
            place = os.open("console", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dev.fd)
        try:
            tree = m.open_tree("", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH, dir_fd=node)
            try:
                m.move_mount(tree, place, "/dev/console")
            finally:
                os.close(tree)
        finally:
            os.close(place)
    finally:
        os.close(node)
