"""`:z` and `:Z`: labels of what is mounted, on a host with SELinux; elsewhere they mean nothing, as in Docker.

Source: selinux(8), container_selinux(8); threats: a directory of the system is never relabelled.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.linux import lsm

_SHARED = b"system_u:object_r:container_file_t:s0\0"
_NEVER = frozenset(("/", "/usr", "/etc", "/home", "/root", "/boot", "/var", "/dev", "/proc", "/sys", "/run", "/tmp"))
_MOST = 1_000_000


def relabel(path: str, *, shared: bool) -> None:
    """Give everything below `path` the label that containers may use; links are not followed. A private label (`Z`)
    would need a category for each container: it gets the shared one. Raises InvalidArgument, Denied."""
    if not lsm.selinux_enabled():
        return
    if os.path.realpath(path) in _NEVER:
        raise errors.InvalidArgument(f"SELinux relabeling of {path} is not allowed", hint="leave out z and Z")
    pending, count = [path], 0
    try:
        while pending:
            here = pending.pop()
            os.setxattr(here, "security.selinux", _SHARED, follow_symlinks=False)
            count += 1
            if count > _MOST:
                raise errors.Exhausted(
                    f"more than {_MOST} files below {path} to relabel", hint="label them beforehand"
                )
            if os.path.isdir(here) and not os.path.islink(here):
                with os.scandir(here) as entries:
                    pending += [entry.path for entry in entries]
    except OSError as error:
        raise errors.from_os_error(error, f"relabel {path} for SELinux") from error
