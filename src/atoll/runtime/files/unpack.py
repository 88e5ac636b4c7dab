"""A tar archive into a directory, written by descriptors.

Holds: `unpack`. Does not hold: layers (`snapshots/apply.py`, where names have a meaning of their own), which
directory it is (`confined.py`, `engine/containers/copy.py`).
A name with `..` is refused. A parent is reached from the directory's descriptor by openat2(2), as strictly as
`resolve` says; the last component is never followed: a link in its place is replaced, not written through.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile

from atoll.base import errors, files
from atoll.base.value import Value
from atoll.linux.root import openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_BLOCK = 1 << 20
_XATTR = "SCHILY.xattr."
_KEPT = ("security.capability",)


class Rules(Value):
    """`owner`: uid and gid of all that is made, None for those of the archive (then its file capabilities, too), or
    (-1, -1) for our own. `rename`: what the archive's first component becomes (from, to). `resolve`: openat2's flags
    for parents."""

    owner: tuple[int, int] | None
    resolve: int
    rename: tuple[str, str] | None = None


class Unpacked(Value):
    """How many entries, and bytes of content, came out of an archive."""

    entries: int
    size: int


def unpack(source: IO[bytes], base: int, rules: Rules) -> Unpacked:
    """Write all of an archive, compressed or not, below the directory `base`. Raises OSError, InvalidArgument for
    what is no archive or names what lies outside, Conflict for a directory in the place of a file or the reverse."""
    worker = _Unpacker(base, rules)
    try:
        with tarfile.open(fileobj=source, mode="r|*", bufsize=_BLOCK) as archive:
            for entry in archive:
                worker.add(archive, entry)
    except (tarfile.TarError, EOFError) as error:
        raise errors.InvalidArgument(f"not a tar archive: {error}") from None
    worker.finish()
    return Unpacked(entries=worker.entries, size=worker.size)


class _Unpacker:
    def __init__(self, base: int, rules: Rules) -> None:
        self.base, self.rules = base, rules
        self.entries = self.size = 0
        self._times: list[tuple[list[str], int]] = []

    def add(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        """One entry."""
        parts = self._parts(entry.name)
        if not parts:  # the directory itself, which is there
            return
        *parents, name = parts
        parent = self._open(parents)
        try:
            if entry.isdir():
                self._directory(parent, name, entry, parts)
            else:
                self._clear(parent, name, entry)
                self._make(archive, entry, parent, name)
                self.entries += 1
        finally:
            os.close(parent)

    def _parts(self, name: str) -> list[str]:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in name:
            raise errors.InvalidArgument(f"the archive names {name!r}, which lies outside the destination")
        if self.rules.rename is not None and parts and parts[0] == self.rules.rename[0]:
            parts[0] = self.rules.rename[1]
        return parts

    def _open(self, parts: list[str]) -> int:
        """An O_PATH descriptor of a directory below the base; what is missing is made."""
        flags = os.O_PATH | os.O_DIRECTORY
        if not parts:
            return os.dup(self.base)
        try:
            return openat2(self.base, "/".join(parts), flags, resolve=self.rules.resolve)
        except FileNotFoundError:
            pass
        parent = self._open(parts[:-1])
        try:
            try:
                os.mkdir(parts[-1], 0o755, dir_fd=parent)
                self._own(parent, parts[-1], None)
            except FileExistsError:
                pass
        finally:
            os.close(parent)
        return openat2(self.base, "/".join(parts), flags, resolve=self.rules.resolve)

    def _directory(self, parent: int, name: str, entry: tarfile.TarInfo, parts: list[str]) -> None:
        fresh = True
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                raise errors.Conflict(f"cannot overwrite non-directory {name!r} with a directory") from None
            fresh = False
        if fresh or self.rules.owner is None:  # a directory that was there keeps its rights, but in archive mode
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                self._own(parent, name, entry)
                os.fchmod(fd, entry.mode & 0o7777)
            finally:
                os.close(fd)
            self._times.append((parts, int(entry.mtime)))
        self.entries += 1

    def _clear(self, parent: int, name: str, entry: tarfile.TarInfo) -> None:
        """Away with what is in the entry's place. A file that is mounted there stays, to be written into."""
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                raise errors.Conflict(f"cannot overwrite directory {name!r} with a non-directory")
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or not entry.isreg():
                raise

    def _make(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, parent: int, name: str) -> None:
        if entry.isreg():
            self._file(archive, entry, parent, name)
            return
        if entry.islnk():
            self._link(entry, parent, name)
            return
        if entry.issym():
            os.symlink(entry.linkname, name, dir_fd=parent)
        elif entry.isfifo():
            os.mkfifo(name, entry.mode & 0o7777, dir_fd=parent)
        elif entry.ischr() or entry.isblk():
            kind = stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
            os.mknod(name, kind | entry.mode & 0o7777, os.makedev(entry.devmajor, entry.devminor), dir_fd=parent)
        else:
            raise errors.InvalidArgument(f"the archive has an entry of unknown type: {entry.name!r}")
        self._own(parent, name, entry)
        os.utime(name, (entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _file(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, parent: int, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):  # exchanged meanwhile
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), name)
            os.ftruncate(fd, 0)
            content = archive.extractfile(entry)
            assert content is not None
            while data := content.read(_BLOCK):
                files.write_all(fd, data)
            if entry.size:
                os.ftruncate(fd, entry.size)
            if self.rules.owner is None:
                os.fchown(fd, entry.uid, entry.gid)
                self._attributes(fd, entry)
            elif self.rules.owner[0] >= 0:
                os.fchown(fd, *self.rules.owner)
            os.fchmod(fd, entry.mode & 0o7777)  # after chown(2), which drops set-user-id
            os.utime(fd, (entry.mtime, entry.mtime))
        finally:
            os.close(fd)
        self.size += entry.size

    def _attributes(self, fd: int, entry: tarfile.TarInfo) -> None:
        for key in _KEPT:
            value = entry.pax_headers.get(_XATTR + key)
            if value is not None:
                try:
                    os.setxattr(fd, key, value.encode("utf-8", "surrogateescape"))
                except OSError as error:
                    if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
                        raise

    def _link(self, entry: tarfile.TarInfo, parent: int, name: str) -> None:
        *parents, last = self._parts(entry.linkname) or [""]
        other = self._open(parents)
        try:
            os.link(last, name, src_dir_fd=other, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(other)

    def _own(self, parent: int, name: str, entry: tarfile.TarInfo | None) -> None:
        owner = self.rules.owner
        if owner is None and entry is not None:
            owner = (entry.uid, entry.gid)
        if owner is not None and owner[0] >= 0:
            os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)

    def finish(self) -> None:
        """The directories' times, deepest first: whatever is made in a directory changes its own."""
        for parts, when in reversed(self._times):
            try:
                fd = self._open(parts)
            except OSError:  # replaced by a later entry
                continue
            try:
                os.utime(".", (when, when), dir_fd=fd)
            finally:
                os.close(fd)
