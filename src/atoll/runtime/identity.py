"""Who the process is inside: users, groups and home by the container's own files; the program by its own PATH.

Holds: `resolve_user`, `find_program`. Reads only through the root handle, bounded. Source: passwd(5), group(5),
the Dockerfile reference for USER, exec(3) for the search.
"""

from __future__ import annotations

import errno
import os
import stat

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.linux.root import Root
    from atoll.spec.runtime import User

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ID_MAX = (1 << 32) - 2


class Identity(Value):
    """Numbers, and the home directory that passwd names (`/` where it names none)."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str = "/"


def resolve_user(root: Root, user: User) -> Identity:
    """The identity for `process.user`. Raises NotFound for a name the container does not know.

    A numeric user unknown to passwd has group 0, as Docker and runc have it; an explicit group takes away the
    supplementary groups that `/etc/group` would add.
    """
    accounts = _lines(root, "/etc/passwd", 7)
    if user.username is None:
        home = next((a[5] for a in accounts if _number(a[2]) == user.uid), "/")
        return Identity(uid=user.uid, gid=user.gid, groups=user.additional_gids, home=home or "/")
    name, colon, group = user.username.partition(":")
    wanted = _number(name)
    account = next((a for a in accounts if a[0] == name or (wanted is not None and _number(a[2]) == wanted)), None)
    if account is None and wanted is None:
        raise errors.NotFound(
            f"unable to find user {name}: no matching entries in passwd file",
            hint="name a user of the image, or give numbers: --user UID:GID",
        )
    uid = wanted if wanted is not None else _checked(account, 2)
    gid = _checked(account, 3) if account else 0
    home = (account[5] if account else "") or "/"
    groups = _lines(root, "/etc/group", 4)
    extra: tuple[int, ...] = ()
    if colon and group:
        number = _number(group)
        if number is None:
            number = _group(groups, group)
        gid = number
    elif account is not None:
        numbers = [_number(g[2]) for g in groups if account[0] in g[3].split(",")]
        extra = tuple(sorted({n for n in numbers if n is not None}))
    # The primary group is among the supplementary ones: a program that drops its egid must not gain by a "negative"
    # permission of that group (CVE-2022-36109).
    named = tuple([_group(groups, wanted) for wanted in user.group_names])
    further = [g for g in dict.fromkeys((*extra, *user.additional_gids, *named)) if g != gid]
    return Identity(uid=uid, gid=gid, groups=(gid, *further), home=home)


def _group(groups: list[list[str]], name: str) -> int:
    line = next((g for g in groups if g[0] == name), None)
    if line is None:
        raise errors.NotFound(f"unable to find group {name}: no matching entries in group file")
    return _checked(line, 2)


def _lines(root: Root, path: str, fields: int) -> list[list[str]]:
    try:
        text = root.read(path, 8 << 20).decode("utf-8", "surrogateescape")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ELOOP):
            return []
        raise
    rows = [line.split(":") for line in text.split("\n") if line and not line.startswith("#")]
    return [row for row in rows if len(row) >= fields]


def _number(text: str) -> int | None:
    # A checked 32-bit number: CVE-2024-40635 was an overflow that became root.
    if not (text.isascii() and text.isdecimal()):
        return None
    value = int(text) if len(text) < 20 else _ID_MAX + 1
    if value > _ID_MAX:
        raise errors.InvalidArgument(f"id {text} is out of range: the highest is {_ID_MAX}")
    return value


def _checked(row: list[str] | None, column: int) -> int:
    value = _number(row[column]) if row else None
    if row is None or value is None:
        raise errors.InvalidArgument(f"malformed line of {row[0] if row else '?'} in the container's user files")
    return value


def find_program(name: str, search: str | None) -> str:
    """The path of the program as this very process may run it. Call it inside the root, as the final user.

    Raises CommandNotFound or CommandNotExecutable with the words users of Docker know.
    """
    if not name:
        raise errors.CommandNotFound('exec: "": no command was given')
    if "/" in name:
        _runnable(name, name)
        return name
    refused: errors.AtollError | None = None
    for directory in (search if search is not None else DEFAULT_PATH).split(":"):
        candidate = f"{directory or '.'}/{name}"
        try:
            _runnable(candidate, name)
        except errors.CommandNotFound:
            continue
        except errors.CommandNotExecutable as error:
            refused = refused or error
            continue
        return candidate
    raise refused or errors.CommandNotFound(
        f'exec: "{name}": executable file not found in $PATH', hint="is the command in the image, and on its PATH?"
    )


def _runnable(path: str, name: str) -> None:
    try:
        info = os.stat(path)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise errors.CommandNotExecutable(f'exec: "{name}": permission denied') from None
        raise errors.CommandNotFound(f'exec: "{name}": {os.strerror(error.errno or 2).lower()}') from None
    if stat.S_ISDIR(info.st_mode):
        raise errors.CommandNotExecutable(f'exec: "{name}": is a directory: permission denied')
    if not os.access(path, os.X_OK, effective_ids=True):
        raise errors.CommandNotExecutable(f'exec: "{name}": permission denied')


def exec_error(error: OSError, path: str) -> errors.AtollError:
    """The error for an execve(2) that failed although the program looked right."""
    if error.errno == errno.ENOENT:
        return errors.CommandNotFound(
            f'exec: "{path}": no such file or directory',
            hint="its interpreter (the loader, or the #! line) is missing",
        )
    if error.errno == errno.ENOEXEC:
        return errors.CommandNotExecutable(
            f'exec: "{path}": exec format error', hint="is the image for another architecture, or a #! line missing?"
        )
    return errors.CommandNotExecutable(f'exec: "{path}": {(error.strerror or "cannot run").lower()}')
