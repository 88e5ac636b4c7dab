"""A tree as a tar archive, read by descriptors.

Holds: `pack`. Does not hold: where the tree is (`confined.py`, `engine/containers/copy.py`).
A file that changes while it is read is as long as it was when it was opened: what is missing is zeros. Sockets are
passed over, as tar(1) does; names of users are left out. Format: pax, extended attributes as SCHILY.xattr.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile

from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_BLOCK = 1 << 20
_XATTRS = ("security.capability",)
_TEXT = ("utf-8", "surrogateescape")


class Packed(Value):
    """How many entries, and bytes of content, went into an archive."""

    entries: int
    size: int


def pack(out: IO[bytes], parent: int, name: str, *, arcname: str, one_mount: bool = False) -> Packed:
    """Write what `name` in the directory `parent` is, a link as a link, with all below it, under `arcname` ("" for
    what is below alone). With `one_mount` what is mounted below is an empty directory. Raises OSError."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BLOCK) as archive:
        packer = _Packer(archive, one_mount=one_mount)
        packer.add(parent, name, arcname)
    return Packed(entries=packer.entries, size=packer.size)


class _Packer:
    def __init__(self, archive: tarfile.TarFile, *, one_mount: bool) -> None:
        self.archive = archive
        self.one_mount = one_mount
        self.entries = self.size = 0
        self._links: dict[tuple[int, int], str] = {}
        self._device = -1

    def add(self, parent: int, name: str, path: str) -> None:
        """One entry, and all below it. What is gone by now is passed over, but the first one must be there."""
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            self._directory(parent, name, path)
        elif stat.S_ISREG(info.st_mode):
            self._file(parent, name, path)
        elif stat.S_ISLNK(info.st_mode):
            self._put(self._entry(path, info, tarfile.SYMTYPE, os.readlink(name, dir_fd=parent)))
        elif stat.S_ISFIFO(info.st_mode):
            self._put(self._entry(path, info, tarfile.FIFOTYPE))
        elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
            kind = tarfile.CHRTYPE if stat.S_ISCHR(info.st_mode) else tarfile.BLKTYPE
            entry = self._entry(path, info, kind)
            entry.devmajor, entry.devminor = os.major(info.st_rdev), os.minor(info.st_rdev)
            self._put(entry)

    def _directory(self, parent: int, name: str, path: str) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            info = os.fstat(fd)
            if self._device < 0:
                self._device = info.st_dev
            if path:
                self._put(self._entry(path, info, tarfile.DIRTYPE, fd=fd))
            if self.one_mount and info.st_dev != self._device:
                return
            for below in sorted(os.listdir(fd)):
                try:
                    self.add(fd, below, f"{path}/{below}" if path else below)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno != errno.ELOOP:  # exchanged for a link between the two looks
                        raise
        finally:
            os.close(fd)

    def _file(self, parent: int, name: str, path: str) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=parent)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                return
            first = self._links.get((info.st_dev, info.st_ino)) if info.st_nlink > 1 else None
            if first is not None:
                self._put(self._entry(path, info, tarfile.LNKTYPE, first))
                return
            if info.st_nlink > 1:
                self._links[info.st_dev, info.st_ino] = path
            entry = self._entry(path, info, tarfile.REGTYPE, fd=fd)
            entry.size = info.st_size
            self.archive.addfile(entry, _Exactly(fd, info.st_size))
            self.entries, self.size = self.entries + 1, self.size + info.st_size
        finally:
            os.close(fd)

    def _put(self, entry: tarfile.TarInfo) -> None:
        self.archive.addfile(entry)
        self.entries += 1

    def _entry(self, path: str, info: os.stat_result, kind: bytes, target: str = "", fd: int = -1) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(path)
        entry.type, entry.linkname = kind, target
        entry.mode, entry.uid, entry.gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
        entry.mtime = info.st_mtime_ns // 10**9
        if fd >= 0:
            entry.pax_headers = _attributes(fd)
        return entry


def _attributes(fd: int) -> dict[str, str]:
    found = {}
    for key in _XATTRS:
        try:
            found[f"SCHILY.xattr.{key}"] = os.getxattr(fd, key).decode(*_TEXT)
        except OSError:
            continue
    return found


class _Exactly:
    """A file's first `size` bytes, with zeros for those that are gone by now."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd, self._left = fd, size

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes."""
        count = self._left if count < 0 else min(count, self._left)
        data = os.read(self._fd, min(count, _BLOCK)) if count else b""
        while len(data) < count:
            more = os.read(self._fd, min(count - len(data), _BLOCK))
            data += more or bytes(count - len(data))
        self._left -= len(data)
        return data
