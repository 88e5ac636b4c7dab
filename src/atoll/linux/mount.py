"""Mounts: the classic calls and the descriptor-based interface (Linux 5.2 and later).

Holds: mount(2), umount2(2), pivot_root(2), fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2),
mount_setattr(2), and `new_filesystem`, which is the usual sequence of them. Does not hold: what to mount where.
Detached mounts need no undo: closing the descriptor ends them.
"""

from __future__ import annotations

import ctypes
import errno
import os

from atoll.linux.libc import (
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fsopen,
    SYS_mount_setattr,
    SYS_move_mount,
    SYS_open_tree,
    SYS_pivot_root,
    check,
    encoded,
    libc,
    syscall,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100
AT_NO_AUTOMOUNT = 0x800

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC

MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6
FSCONFIG_CMD_RECONFIGURE = 7

MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x00
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x00100000
MOUNT_ATTR_NOSYMFOLLOW = 0x00200000

# fsconfig(2) copies at most this many bytes of a string value, its NUL included.
FSCONFIG_STRING_MAX = 256


class _MountAttr(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]


def mount(source: str, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Raises OSError with the target."""
    check(
        libc.mount(
            encoded(source),
            encoded(target),
            fstype.encode() if fstype else None,
            flags,
            encoded(data) if data else None,
        ),
        target,
    )


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2). Raises OSError with the target."""
    check(libc.umount2(encoded(target), flags), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2). Raises OSError with the new root."""
    syscall(SYS_pivot_root, encoded(new_root), encoded(put_old), subject=new_root)


def fsopen(fstype: str) -> int:
    """fsopen(2): a descriptor of a file system context, close-on-exec. Raises OSError with the type."""
    return syscall(SYS_fsopen, fstype.encode(), FSOPEN_CLOEXEC, subject=fstype)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """fsconfig(2) with FSCONFIG_SET_STRING. Raises OSError with `key=value`, and the kernel's own words if any."""
    try:
        syscall(SYS_fsconfig, fd, FSCONFIG_SET_STRING, key.encode(), encoded(value), 0)
    except OSError as error:
        raise _explained(fd, error, f"{key}={value}") from None


def fsconfig_flag(fd: int, key: str) -> None:
    """fsconfig(2) with FSCONFIG_SET_FLAG. Raises OSError with the key."""
    try:
        syscall(SYS_fsconfig, fd, FSCONFIG_SET_FLAG, key.encode(), None, 0)
    except OSError as error:
        raise _explained(fd, error, key) from None


def fsconfig_create(fd: int, subject: str | None = None) -> None:
    """fsconfig(2) with FSCONFIG_CMD_CREATE: make the superblock. Raises OSError with the kernel's own words."""
    try:
        syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, None, None, 0)
    except OSError as error:
        raise _explained(fd, error, subject) from None


def fsmount(fd: int, attributes: int = 0) -> int:
    """fsmount(2): a descriptor of a detached mount, close-on-exec. Raises OSError."""
    return syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes)


def _explained(fd: int, error: OSError, subject: str | None) -> OSError:
    # A context keeps messages ("e overlay: ..."): they say far more than the errno (fsopen(2), "Message retrieval").
    words: list[str] = []
    try:
        while len(words) < 8:
            words.append(os.read(fd, 4096).decode(errors="replace").strip()[2:])
    except OSError:
        pass
    text = os.strerror(error.errno or 0)
    return OSError(error.errno, f"{text}: {'; '.join(words)}" if words else text, subject)


def new_filesystem(
    fstype: str, options: Iterable[tuple[str, str | None]] = (), attributes: int = 0, *, source: str | None = None
) -> int:
    """A detached mount of a new file system: fsopen, fsconfig for each option, create, fsmount.

    Options are (key, value) pairs, (key, None) for flags. Returns a close-on-exec descriptor; closing it ends the
    mount unless it was attached by `move_mount`. Raises OSError.
    """
    context = fsopen(fstype)
    try:
        if source is not None:
            fsconfig_string(context, "source", source)
        for key, value in options:
            if value is None:
                fsconfig_flag(context, key)
            else:
                fsconfig_string(context, key, value)
        fsconfig_create(context, fstype)
        return fsmount(context, attributes)
    finally:
        os.close(context)


def open_tree(path: str, flags: int = OPEN_TREE_CLONE, *, dir_fd: int = AT_FDCWD) -> int:
    """open_tree(2): with OPEN_TREE_CLONE a detached bind mount of `path` (AT_RECURSIVE: with what is below).

    An empty path with AT_EMPTY_PATH takes `dir_fd` itself. Returns a close-on-exec descriptor. Raises OSError.
    """
    return syscall(SYS_open_tree, dir_fd, encoded(path), flags | OPEN_TREE_CLOEXEC, subject=path)


def move_mount(mount_fd: int, target_fd: int, subject: str | None = None) -> None:
    """move_mount(2) of a detached mount onto the place that `target_fd` (O_PATH) stands for. Raises OSError."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    syscall(SYS_move_mount, mount_fd, b"", target_fd, b"", flags, subject=subject)


def mount_setattr(
    fd: int,
    *,
    set: int = 0,
    clear: int = 0,
    propagation: int = 0,
    recursive: bool = False,
    userns_fd: int = 0,
    subject: str | None = None,
) -> None:
    """mount_setattr(2) on the mount that `fd` stands for. `propagation` is one of MS_PRIVATE, MS_SLAVE, MS_SHARED,
    MS_UNBINDABLE. Raises OSError."""
    attr = _MountAttr(set, clear, propagation, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall(SYS_mount_setattr, fd, b"", flags, ctypes.byref(attr), ctypes.sizeof(attr), subject=subject)


def set_propagation(path: str, propagation: int) -> None:
    """Change how mounts below `path` propagate, e.g. MS_REC | MS_SLAVE. Raises OSError."""
    check(libc.mount(None, encoded(path), None, propagation, None), path)


def supports_fs_interface() -> bool:
    """Whether the descriptor-based interface answers here (a container's filter may refuse it with ENOSYS)."""
    try:
        os.close(fsopen("tmpfs"))
    except OSError as error:
        return error.errno not in (errno.ENOSYS,)
    return True
