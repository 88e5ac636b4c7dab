"""Questions to a namespace's descriptor: ioctl_nsfs(2)."""

from __future__ import annotations

import fcntl

NS_GET_USERNS, NS_GET_NSTYPE = 0xB701, 0xB703


def get_nstype(fd: int) -> int:
    """The CLONE_NEW flag of the kind of namespace that `fd` stands for. Raises OSError (ENOTTY: it is none)."""
    return fcntl.ioctl(fd, NS_GET_NSTYPE)


def get_userns(fd: int) -> int:
    """A descriptor, close-on-exec, of the user namespace that owns the namespace `fd`. Raises OSError (EPERM: it is
    not below the caller's own)."""
    return fcntl.ioctl(fd, NS_GET_USERNS)
