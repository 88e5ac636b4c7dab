"""Directories that a layer implies without describing them: their attributes come from the layers below.

Holds: `adopt`. A layer with only `etc/new` makes `etc` in its own tree; as the upper of two merged directories it
would decide owner and mode of `/etc`. Here it gets what the layers below say.
"""

from __future__ import annotations

import errno
import os
import stat

from atoll.linux.root import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_LINKS = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS
_OVERRIDE = "user.containers.override_stat"


def adopt(root_fd: int, parents: Sequence[int], paths: Sequence[str], *, single: bool) -> None:
    """Copy owner, mode and time of each directory from the topmost layer that has it. Raises OSError."""
    for path in paths:
        try:
            own = openat2(root_fd, path, os.O_RDONLY | os.O_DIRECTORY, resolve=_NO_LINKS)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                continue  # a later entry replaced it
            raise
        try:
            _copy(own, parents, path, single=single)
        finally:
            os.close(own)


def _copy(own: int, parents: Sequence[int], path: str, *, single: bool) -> None:
    for parent in parents:
        try:
            source = openat2(parent, path, os.O_RDONLY | os.O_DIRECTORY, resolve=_NO_LINKS)
        except OSError as error:
            if error.errno == errno.ENOENT:
                continue
            return  # something else than a directory hides whatever lies below
        try:
            info = os.fstat(source)
            if single:
                _copy_record(source, own)
            else:
                os.fchown(own, info.st_uid, info.st_gid)
            os.fchmod(own, stat.S_IMODE(info.st_mode))
            os.utime(own, ns=(info.st_mtime_ns, info.st_mtime_ns))
        finally:
            os.close(source)
        return


def _copy_record(source: int, own: int) -> None:
    try:
        os.setxattr(own, _OVERRIDE, os.getxattr(source, _OVERRIDE))
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
