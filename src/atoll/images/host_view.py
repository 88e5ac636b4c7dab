"""Looking at this machine for the `host` image: mounts, homes, what is private to one user.

Holds: `HostView` (a test gives another one), lists of file systems. Does not hold: decisions (`host.py`).
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Interfaces of the kernel, not places of files.
PSEUDO = frozenset(
    (
        "proc sysfs cgroup cgroup2 devtmpfs devpts mqueue debugfs tracefs securityfs bpf pstore configfs fusectl"
        " autofs binfmt_misc nsfs rpc_pipefs hugetlbfs efivarfs selinuxfs smackfs ramfs"
    ).split()
)
# File systems that overlayfs does not take as a lower layer (no stable names, or not without their daemon).
NO_LOWER = frozenset(
    (
        "vfat",
        "msdos",
        "exfat",
        "ntfs",
        "ntfs3",
        "fuseblk",
        "iso9660",
        "udf",
        "9p",
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "overlay",
        "fuse",
    )
)
_BUDGET = 20_000


class HostView:
    """The machine as it is."""

    def mounts(self) -> dict[str, str]:
        """Mount points and the file system types on top of them (proc_pid_mountinfo(5))."""
        found: dict[str, str] = {}
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                fields = line.split(" ")
                path = _unescaped(fields[4])
                # A later mount on a parent covers earlier ones below it.
                for covered in [one for one in found if one.startswith(path.rstrip("/") + "/")]:
                    del found[covered]
                found[path] = fields[fields.index("-") + 1]
        found.pop("/", None)
        return found

    def listdir(self, path: str) -> list[str]:
        """Names in a directory; none when it cannot be read."""
        try:
            return os.listdir(path)
        except (PermissionError, FileNotFoundError, NotADirectoryError):
            return []

    def lstat(self, path: str) -> os.stat_result | None:
        """What is at a path; None when nothing is, or nothing we may see."""
        try:
            return os.lstat(path)
        except OSError:
            return None

    def readlink(self, path: str) -> str:
        """Where a link leads."""
        return os.readlink(path)

    def is_directory(self, path: str) -> bool:
        """Whether it is a directory and not a link to one."""
        info = self.lstat(path)
        return info is not None and stat.S_ISDIR(info.st_mode)

    def directories(self, path: str) -> list[tuple[str, int]]:
        """The directories in a directory with their modes, links not counted."""
        found = []
        for entry in _entries(path):
            if entry.is_dir(follow_symlinks=False):
                try:
                    found.append((entry.name, entry.stat(follow_symlinks=False).st_mode))
                except OSError:
                    continue
        return sorted(found)

    def private(self, path: str, owner: int, depth: int) -> tuple[list[str], bool]:
        """Names relative to `path` of what `owner` (or one of our groups) may read and others may not, down to
        `depth` levels; and whether the budget sufficed."""
        groups = {*os.getgroups(), os.getegid()}
        found: list[str] = []
        left = _BUDGET
        pending = [("", depth)]
        while pending:
            folder, levels = pending.pop()
            for entry in _entries(f"{path}/{folder}" if folder else path):
                left -= 1
                if left < 0:
                    return found, False
                name = f"{folder}/{entry.name}" if folder else entry.name
                info = entry.stat(follow_symlinks=False)
                directory = stat.S_ISDIR(info.st_mode)
                if stat.S_ISLNK(info.st_mode):
                    continue
                needed = 0o005 if directory else 0o004
                if info.st_mode & needed != needed and (info.st_uid == owner or info.st_gid in groups):
                    found.append(name)
                elif directory and levels > 1:
                    pending.append((name, levels - 1))
        return found, True


def homes() -> tuple[str, ...]:
    """Home directories of people: of root, of every login of 1000 and above, and $HOME."""
    found = {"/root", os.environ.get("HOME", "")}
    try:
        with open("/etc/passwd", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                fields = line.rstrip("\n").split(":")
                if len(fields) == 7 and fields[2].isdecimal() and 1000 <= int(fields[2]) < 65534:
                    found.add(fields[5])
    except OSError:
        pass
    return tuple(sorted({os.path.normpath(h) for h in found if h.startswith("/") and h.count("/") and h != "/"}))


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from entries
    except OSError:
        return


def _unescaped(text: str) -> str:
    """mountinfo writes blanks and backslashes in octal."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
