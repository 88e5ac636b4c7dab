"""Files by name out of a directory or a tar archive: what image layouts and docker-archives are read from.

Holds: `Folder`, `TarFiles`, `open_shelf`. Does not hold: what the files mean (`layout.py`, `archive.py`).
An archive is never unpacked: its headers are read once, its contents by position. A compressed one, or one that comes
through a pipe, passes through an unnamed file first. Names in it lead nowhere but to its own entries.
"""

from __future__ import annotations

import errno
import os
import stat

from atoll.base import errors, files
from atoll.linux.root import Root
from atoll.snapshots import tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20
_MAX_ENTRIES = 100_000
_MAX_LINKS = 8
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")


class Folder:
    """A directory. Links in it are followed, but never out of it."""

    def __init__(self, path: str) -> None:
        self._root = Root.open(path)

    def size(self, name: str) -> int | None:
        """A file's size; None if there is no such file."""
        try:
            fd = self._open(name)
        except errors.NotFound:
            return None
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def chunks(self, name: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes from an offset on. Raises NotFound."""
        fd = self._open(name)
        try:
            while chunk := os.pread(fd, _CHUNK, offset):
                yield chunk
                offset += len(chunk)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Give up the directory. Twice is fine."""
        self._root.close()

    def _open(self, name: str) -> int:
        try:
            fd = self._root.open_at(name, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise errors.NotFound(f"there is no file {name}") from None
            raise errors.from_os_error(error, f"open {name}") from error
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise errors.NotFound(f"{name} is not a file")


class _Headers(tar.Stream):
    """The archive by position: contents are passed over without being read."""

    __slots__ = ("_end", "_fd")

    def __init__(self, fd: int) -> None:
        super().__init__(lambda: b"")
        self._fd = fd
        self._end = os.fstat(fd).st_size

    def take(self, count: int) -> bytes:
        data = os.pread(self._fd, count, self.offset)
        if data and len(data) < count:
            raise tar.broken("the archive breaks off")
        self.offset += len(data)
        return data

    def skip(self, count: int) -> None:
        self.offset += count
        if self.offset > self._end:
            raise tar.broken("the archive breaks off")

    def drain(self) -> None:
        return


class TarFiles:
    """A tar archive; takes over the descriptor of a seekable, uncompressed file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            self._scan()
        except BaseException:
            self.close()
            raise

    def _scan(self) -> None:
        headers = _Headers(self._fd)
        for count, entry in enumerate(tar.entries(headers)):
            if count > _MAX_ENTRIES:
                raise errors.Exhausted(f"the archive has more than {_MAX_ENTRIES} entries")
            name = _normal(os.fsdecode(entry.name))
            self._files.pop(name, None)
            self._links.pop(name, None)
            if entry.kind == tar.REGULAR and entry.sparse is None:
                self._files[name] = (headers.offset, entry.size)
            elif entry.kind == tar.SYMLINK:
                self._links[name] = _normal(os.path.join(os.path.dirname(name), os.fsdecode(entry.link)))
            elif entry.kind == tar.HARDLINK:
                self._links[name] = _normal(os.fsdecode(entry.link))
            headers.skip(entry.size)

    def size(self, name: str) -> int | None:
        """A file's size; None if there is no such file."""
        found = self._find(name)
        return found[1] if found else None

    def chunks(self, name: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes from an offset on. Raises NotFound."""
        found = self._find(name)
        if found is None:
            raise errors.NotFound(f"there is no file {name} in the archive")
        start, size = found
        while offset < size:
            chunk = os.pread(self._fd, min(_CHUNK, size - offset), start + offset)
            if not chunk:
                raise tar.broken("the archive breaks off")
            yield chunk
            offset += len(chunk)

    def close(self) -> None:
        """Give up the file. Twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _find(self, name: str) -> tuple[int, int] | None:
        name = _normal(name)
        for _ in range(_MAX_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        return self._files.get(name)


Shelf = Folder | TarFiles


def open_shelf(path: str | int) -> Shelf:
    """The directory or archive at a path (`-`: standard input), or of a descriptor, which stays the caller's.

    Raises NotFound, Denied, Corrupt for what is neither.
    """
    if isinstance(path, str) and path != "-":
        if os.path.isdir(path):
            return Folder(path)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.from_os_error(error, f"open {path}") from error
    else:
        fd = os.dup(0 if path == "-" else int(path))
    try:
        fd = _seekable(fd)
    except BaseException:
        os.close(fd)
        raise
    return TarFiles(fd)


def read(shelf: Shelf, name: str, limit: int) -> bytes:
    """A small file as a whole. Raises NotFound, Corrupt when it is longer than `limit`."""
    size = shelf.size(name)
    if size is not None and size > limit:
        raise errors.Corrupt(f"{name} has {size} bytes, more than {limit}")
    return b"".join(shelf.chunks(name))


def blob(shelf: Shelf, where: str, name: str, digest: str, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The file `name` as a source's blob: its bytes from `offset` on with their positions. Raises NotFound when it is
    not there, Corrupt when it has not the `size` that was announced."""
    found = shelf.size(name)
    if found is None:
        raise errors.NotFound(f"{where} has no {digest}")
    if found != size:
        raise errors.Corrupt(f"{where}: {digest} has {found} bytes, announced are {size}")
    for chunk in shelf.chunks(name, offset):
        yield offset, chunk
        offset += len(chunk)


def _seekable(fd: int) -> int:
    """The descriptor, or that of an unnamed file with the plain archive in it."""
    regular = stat.S_ISREG(os.fstat(fd).st_mode)
    first = os.pread(fd, 4, 0) if regular else b""
    if regular and not first.startswith(_PACKED):
        return fd
    from atoll.snapshots.stream import Plain

    if regular:
        os.lseek(fd, 0, os.SEEK_SET)
    spool = unnamed()
    try:
        for chunk in Plain(lambda: os.read(fd, _CHUNK), hashed=False).chunks():
            files.write_all(spool, chunk)
    except OSError as error:
        os.close(spool)
        raise errors.from_os_error(error, "keep the archive") from error
    except BaseException:
        os.close(spool)
        raise
    os.close(fd)
    return spool


def unnamed() -> int:
    """A file without a name for what may be large: on disk rather than in memory. Raises OSError."""
    for folder in (os.environ.get("TMPDIR"), "/var/tmp"):
        if folder:
            try:
                return files.unnamed(folder)
            except OSError:
                continue
    return files.unnamed("/tmp")


def _normal(name: str) -> str:
    """The name without `.`, `..` and doubled slashes, as if the archive were the root."""
    return os.path.normpath("/" + name).lstrip("/")
