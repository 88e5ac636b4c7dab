"""Where a copy goes, by Docker's rules for `cp`.

    what is copied    destination: a directory     a file           nothing there
    a file            in it, under its own name    in its place     there, if its directory exists; not with a final /
    a directory       in it, under its own name    refused          there, under the destination's name
    directory/.       its content, into it         refused          its content, into a new directory of that name

A destination that is a link stands for what it leads to, also where that is nothing yet.
Source: Docker's CLI reference, "docker container cp".
"""

from __future__ import annotations

import errno
import os
import stat

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Opener = Callable[[str, int], int]

_LINKS = 40


class Source(Value):
    """What is copied: `name` is its base name, `contents` that only what is in it goes."""

    name: str
    directory: bool
    contents: bool = False


def settle(opener: Opener, path: str, source: Source | None) -> tuple[int, str | None]:
    """An O_PATH descriptor of the directory to unpack into, and the name that the archive's first component becomes
    (None: it stays). `source` None is an archive, which needs a directory that exists.

    `opener(path, flags)` opens from wherever paths begin. Raises NotFound, Conflict, InvalidArgument, OSError.
    """
    shown = path
    for _ in range(_LINKS):
        try:
            fd = opener(path, os.O_PATH)
        except FileNotFoundError:
            fd = -1
        except NotADirectoryError:
            raise errors.Conflict(f"cannot copy to {shown}: a file is where a directory should be") from None
        if fd >= 0 and stat.S_ISDIR(os.fstat(fd).st_mode):
            return fd, None
        if fd >= 0:
            os.close(fd)
        _check(shown, path, source, exists=fd >= 0)
        assert source is not None
        parent, _, name = path.rstrip("/").rpartition("/")
        parent = parent or ("/" if path.startswith("/") else ".")
        where = _parent(opener, parent, shown)
        try:
            target = os.readlink(name, dir_fd=where)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                os.close(where)
                raise
            return _named(where, name, source)
        os.close(where)
        path = target if target.startswith("/") else f"{parent}/{target}"
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), shown)


def _check(shown: str, path: str, source: Source | None, *, exists: bool) -> None:
    if source is None:
        if exists:
            raise errors.InvalidArgument(f'destination "{shown}" must be a directory')
        raise errors.NotFound(f"could not find the directory {shown}", hint="an archive needs one that exists")
    if exists and (source.directory or path.endswith("/")):
        raise errors.Conflict(
            f"cannot copy {'a directory' if source.directory else 'below'} to {shown}: it is a file"
        )
    if not exists and path.endswith("/") and not source.directory:
        raise errors.NotFound(f"no such directory: {shown}", hint="leave out the final /, or make it first")


def _parent(opener: Opener, parent: str, shown: str) -> int:
    try:
        return opener(parent, os.O_PATH | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise errors.NotFound(f"could not find the directory of {shown}", hint="make it first") from None


def _named(where: int, name: str, source: Source) -> tuple[int, str | None]:
    if not source.contents:
        return where, name
    try:
        os.mkdir(name, 0o755, dir_fd=where)
        fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=where)
    finally:
        os.close(where)
    return fd, None
