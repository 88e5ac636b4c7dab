"""A bound on what a container, or a volume, writes: bytes and inodes.

Holds: `bound`, `ensure`, `release`, `is_bounded`. Does not hold: what the bound is (`--storage-opt size=`).

Where the file system has project quotas in force that hold root, too (xfs mounted with `prjquota`; not ext4, see
`linux/projectquota.py`), the directory gets a project of its own. Elsewhere a sparse file with an ext4 in it is
mounted over the directory: it grows with what is written and gives freed blocks back (`discard`). Both are root's:
the kernel grants neither to an ordinary user.

    <root>/disks/<key>.img          the file; its being there says that the directory is one of these. `root` is that
                                    of the snapshots, or a volume's own directory
"""

from __future__ import annotations

import os
import zlib

from atoll.base import errors, files
from atoll.linux import mount as m

LEAST = 2 << 20  # below that an ext4 has hardly room for anything
_PROJECTS = 0x41540000  # "AT": projects of other programs are rarely up here
_PER_INODE = 16 << 10


def bound(root: str, key: str, path: str, size: int, inodes: int = 0, *, mode: int = 0o711) -> str:
    """Bound the empty directory `path` to `size` bytes and `inodes` files (0: as many as fit). `root` is the store's
    own, `key` names the directory in it, which gets `mode`. Returns "project" or "loop".

    Raises InvalidArgument for less than `LEAST`, Unsupported for an ordinary user and without mkfs.ext4.
    """
    if size < LEAST:
        raise errors.InvalidArgument(f"a bound of {size} bytes is less than {LEAST}")
    if os.geteuid() != 0:
        raise errors.Unsupported(
            "an ordinary user cannot bound what a container writes: the kernel grants no quotas to users",
            hint="run as root, or bound a tmpfs: --tmpfs /data:size=64m",
        )
    os.makedirs(f"{root}/disks", 0o700, exist_ok=True)  # its being there says that some directory is bounded
    if _by_project(key, path, size, inodes):
        return "project"
    _by_loop(root, key, path, size, inodes)
    os.chmod(path, mode)  # of the new file system's own root, where it stays
    return "loop"


def is_bounded(root: str, key: str) -> bool:
    """Whether there is a file system of its own for the directory."""
    return os.path.exists(_image(root, key))


def ensure(root: str, key: str, path: str) -> None:
    """Mount the directory's own file system if it is not: after a reboot. Nothing to do for others. Raises
    AtollError."""
    image = _image(root, key)
    if os.path.exists(image) and not _is_mounted(path):
        _mount(image, path)


def release(root: str, key: str, path: str) -> None:
    """Take the bound away before the directory is removed. Nothing to do where there is none. Raises AtollError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = -1
    if fd >= 0:
        try:
            _forget_project(fd)
        finally:
            os.close(fd)
    image = _image(root, key)
    if os.path.exists(image):
        if _is_mounted(path):
            m.umount2(path, m.MNT_DETACH)
        files.unlink_if_present(image)


def _image(root: str, key: str) -> str:
    return f"{root}/disks/{key}.img"


def _is_mounted(path: str) -> bool:
    try:
        return os.stat(path).st_dev != os.stat(os.path.dirname(path)).st_dev
    except FileNotFoundError:
        return False


def _by_project(key: str, path: str, size: int, inodes: int) -> bool:
    from atoll.linux import projectquota

    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not projectquota.binds_root(fd):
            return False
        first = zlib.crc32(key.encode()) & 0xFFFF
        for step in range(256):  # a project in use has bounds
            project = _PROJECTS | (first + step) & 0xFFFF
            taken = projectquota.limits(fd, project)
            if taken is None:
                return False
            if taken == (0, 0):
                return projectquota.limit(fd, project, size, inodes)
    except OSError as error:
        raise errors.from_os_error(error, f"bound {path}") from error
    finally:
        os.close(fd)
    return False


def _forget_project(fd: int) -> None:
    from atoll.linux import projectquota

    project = projectquota.project_of(fd)
    if project & 0xFFFF0000 == _PROJECTS:
        try:
            projectquota.unlimit(fd, project)
        except OSError as error:
            raise errors.from_os_error(error, "forget a project quota") from error


def _by_loop(root: str, key: str, path: str, size: int, inodes: int) -> None:
    image = _image(root, key)
    fd = os.open(image, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)
    try:
        _format(image, inodes or max(size // _PER_INODE, 64))
        _mount(image, path)
    except BaseException:
        files.unlink_if_present(image)
        raise


def _format(image: str, inodes: int) -> None:
    import subprocess

    # Without a journal: what a crash leaves of a container's own files is not worth writing everything twice.
    argv = ["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard"]
    try:
        done = subprocess.run(
            [*argv, "-N", str(inodes), image],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
        )
    except FileNotFoundError:
        raise errors.Unsupported("mkfs.ext4 is not here", hint="apt install e2fsprogs") from None
    if done.returncode:
        raise errors.Exhausted(f"cannot make a file system: {done.stderr.decode('utf-8', 'replace').strip()}")


def _mount(image: str, path: str) -> None:
    from atoll.linux import loop

    try:
        backing = os.open(image, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            device, name = loop.attach(backing)
        finally:
            os.close(backing)
        try:
            m.mount(name, path, "ext4", 0, "discard,noinit_itable")
        finally:
            os.close(device)
    except OSError as error:
        raise errors.from_os_error(error, "mount the container's own file system") from error
    try:
        os.rmdir(f"{path}/lost+found")
    except OSError:
        pass
