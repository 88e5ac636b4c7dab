"""User namespaces: entering one, and writing its maps.

Holds: `write_maps` (for another process), `enter` (for this one). Does not hold: which map a user gets
(`spec/idmap.py`). Source: user_namespaces(7), newuidmap(1).

Who writes what:

    single map     the process itself, after "deny" in setgroups          (any user, nothing installed)
    ranges         a process outside, through newuidmap and newgidmap     (ranges of /etc/subuid, /etc/subgid)
                   or directly when it has CAP_SETUID there               (root)
"""

from __future__ import annotations

import errno
import os

from atoll.linux import process as p

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Range = tuple[int, int, int]


def in_initial() -> bool:
    """Whether this process is in a user namespace that maps every id to itself, as the initial one does."""
    with open("/proc/self/uid_map", "rb") as file:
        return file.read().split() == [b"0", b"0", b"4294967295"]


def write_maps(
    pid: int,
    uid_map: Sequence[Range],
    gid_map: Sequence[Range],
    *,
    newuidmap: str | None = None,
    newgidmap: str | None = None,
    deny_setgroups: bool = False,
) -> None:
    """Write the maps of a process that has just made its user namespace; ranges are (inside, outside, count).

    The target must be dumpable, otherwise its map files belong to root (proc(5), "/proc/pid"). Raises OSError;
    with a helper, its words are in the error.
    """
    if deny_setgroups:
        _write(f"/proc/{pid}/setgroups", "deny")
    for name, ranges, helper in (("gid_map", gid_map, newgidmap), ("uid_map", uid_map, newuidmap)):
        if helper:
            _run_helper([helper, str(pid), *[str(number) for one in ranges for number in one]])
        else:
            _write(f"/proc/{pid}/{name}", "".join([f"{a} {b} {c}\n" for a, b, c in ranges]))


def enter(
    uid_map: Sequence[Range],
    gid_map: Sequence[Range],
    *,
    newuidmap: str | None = None,
    newgidmap: str | None = None,
    single: bool = False,
    flags: int = 0,
) -> None:
    """Move this process, which must have one thread, into a new user namespace, and become its root.

    `flags` are further CLONE_NEW* namespaces, owned by the new one. A child that stays outside writes ranges.
    Raises OSError.
    """
    if single:
        p.prctl(p.PR_SET_DUMPABLE, 1)
        p.unshare(p.CLONE_NEWUSER | flags)
        write_maps(os.getpid(), uid_map, gid_map, deny_setgroups=True)
        become_root()
        return
    pid = os.getpid()
    go_read, go_write = os.pipe2(os.O_CLOEXEC)
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(go_write)
        code = 0
        try:
            if os.read(go_read, 1):
                write_maps(pid, uid_map, gid_map, newuidmap=newuidmap, newgidmap=newgidmap)
        except OSError as error:
            os.write(report_write, f"{error.errno or errno.EIO} {error.strerror}".encode()[:4000])
            code = 1
        finally:
            os._exit(code)
    os.close(go_read)
    os.close(report_write)
    try:
        p.prctl(p.PR_SET_DUMPABLE, 1)
        p.unshare(p.CLONE_NEWUSER | flags)
        os.write(go_write, b"1")
        report = os.read(report_read, 4096).decode("utf-8", "replace")
    finally:
        os.close(go_write)  # ends a child that was not told to write
        os.close(report_read)
        os.waitpid(child, 0)
    if report:
        code_text, _, words = report.partition(" ")
        raise OSError(int(code_text), words, "uid_map")
    os.setgroups([])  # such a map never denies it: nothing of the caller's own is to be left
    become_root()


def become_root() -> None:
    """Id 0 of the user namespace that this process has entered. The caller's groups go first, but where a map of one
    id denies that (user_namespaces(7), "/proc/pid/setgroups"). Raises OSError."""
    try:
        os.setgroups([])
    except PermissionError:
        pass
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _write(path: str, content: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, content.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def _run_helper(argv: list[str]) -> None:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, write_end, 2)]
        pid = os.posix_spawn(argv[0], argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, file_actions=actions)
        os.close(write_end)
        write_end = -1
        words = os.read(read_end, 2000).decode("utf-8", "replace").strip()
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)
    if status != 0:
        raise OSError(errno.EPERM, words or f"{argv[0]} failed", argv[0])
