"""Project quotas: bounds on all that lies below a directory (quotactl(2), xfs_quota(8), ext4(5) "prjquota").

Holds: `binds_root`, `limit`, `project_of`. Sources: include/uapi/linux/{fs,quota,magic}.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import struct

from atoll.linux.libc import check, libc, syscall

_SYS_quotactl_fd = 443
_PRJQUOTA = 2
_GETQUOTA, _SETQUOTA = 0x800007, 0x800008
_DQBLK = struct.Struct("=8QI4x")
_BLOCKS, _INODES = 1, 4
_FSGETXATTR, _FSSETXATTR = 0x801C581F, 0x401C5820
_FSXATTR = struct.Struct("=5I8x")
_INHERIT = 0x200
_XFS_MAGIC = 0x58465342
_STATFS_BYTES = 256
_ABSENT = (errno.ENOSYS, errno.ENOTTY, errno.EOPNOTSUPP, errno.ESRCH, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


def binds_root(dir_fd: int) -> bool:
    """Whether root, too, is held to a project's bounds: by xfs. Others let pass whoever has CAP_SYS_RESOURCE
    (fs/quota/dquot.c, ignore_hardlimit), and what is written through an overlay is written with the rights of whoever
    mounted that (fs/overlayfs/file.c): of root, whatever the container's own are. Raises OSError."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    check(libc.fstatfs(dir_fd, buffer), "fstatfs")
    return int(struct.unpack_from("=l" if struct.calcsize("l") == 4 else "=q", buffer)[0]) == _XFS_MAGIC


def _quotactl(dir_fd: int, command: int, project: int, data: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(data, len(data))
    syscall(_SYS_quotactl_fd, dir_fd, command << 8 | _PRJQUOTA, project, ctypes.byref(buffer), subject="quotactl")
    return buffer.raw


def limits(dir_fd: int, project: int) -> tuple[int, int] | None:
    """The bounds of a project in bytes and inodes, 0 for none; None where project quotas are not in force."""
    try:
        found = _DQBLK.unpack(_quotactl(dir_fd, _GETQUOTA, project, bytes(_DQBLK.size)))
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        if error.errno == errno.ENOENT:  # xfs, of a project that nobody has given any
            return 0, 0
        raise
    return found[0] * 1024, found[3]


def limit(dir_fd: int, project: int, size: int, inodes: int) -> bool:
    """Put an empty directory, and all that is made in it, under a project with these bounds (0: none). False where
    project quotas are not in force. Raises OSError."""
    if limits(dir_fd, project) is None:
        return False
    quota = _DQBLK.pack(-(-size // 1024), 0, 0, inodes, 0, 0, 0, 0, _BLOCKS | _INODES)
    try:
        flags, extent, count, _, cow = _FSXATTR.unpack(fcntl.ioctl(dir_fd, _FSGETXATTR, bytes(_FSXATTR.size)))
        _quotactl(dir_fd, _SETQUOTA, project, quota)
        fcntl.ioctl(dir_fd, _FSSETXATTR, _FSXATTR.pack(flags | _INHERIT, extent, count, project, cow))
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise
    return True


def project_of(dir_fd: int) -> int:
    """The project of a directory; 0 for none."""
    try:
        return int(_FSXATTR.unpack(fcntl.ioctl(dir_fd, _FSGETXATTR, bytes(_FSXATTR.size)))[3])
    except OSError:
        return 0


def unlimit(dir_fd: int, project: int) -> None:
    """Forget the bounds of a project. Raises OSError."""
    _quotactl(dir_fd, _SETQUOTA, project, _DQBLK.pack(0, 0, 0, 0, 0, 0, 0, 0, _BLOCKS | _INODES))
