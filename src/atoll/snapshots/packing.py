"""Writing tar archives that are the same bytes every time: PAX where ustar's fields do not suffice.

Holds: `Member`, `TarWriter`. Does not hold: what goes into an archive (`diff.py`), reading (`tar.py`).
Names are bytes from end to end. Times are whole seconds, as Docker and containerd write them; holes of sparse files
are written as zeros (image-spec, layer.md: "Sparse files SHOULD NOT be used") but never read from the disk; what is
no layer may keep them (`add_sparse`).
"""

from __future__ import annotations

import errno
import os
import stat

from atoll.base.value import Value
from atoll.snapshots import tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_STEP = 1 << 20
_ZEROS = bytes(_STEP)
_SHORT = 64 << 10
_OCTAL_ID = 0o7777777
_OCTAL_SIZE = 0o77777777777


class Member(Value):
    """One entry. `name` without a leading slash, a directory's with a trailing one; `mode` without the type's bits;
    `mtime` in whole seconds; `real_size` is a sparse file's, whose `size` is that of its map and data."""

    name: bytes
    kind: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    real_size: int | None = None


class TarWriter:
    """Writes members to `out`, which takes all bytes it is given. `finish` writes the end mark."""

    def __init__(self, out: Callable[[bytes], object]) -> None:
        self._out = out
        self.entries = 0
        self.data = 0
        """Bytes of file contents."""

    def add(self, member: Member, source: int | None = None) -> None:
        """One member; `source` is the descriptor of a regular file of `member.size` bytes.

        A file that shrank meanwhile is filled up with zeros, one that grew is cut: the archive stays well-formed.
        Raises OSError.
        """
        self._out(headers(member))
        self.entries += 1
        if source is not None and member.size:
            self._content(source, member.size)
            self.data += member.size

    def add_sparse(self, member: Member, source: int, pieces: Sequence[tuple[int, int]]) -> None:
        """A regular file with holes: `pieces` are where it has data ((offset, bytes), ascending). In the PAX form 1.0
        of GNU tar (its manual, "Storing Sparse Files"): a map before the data. Raises OSError."""
        told = [*pieces, (member.size, 0)]
        numbers = [len(told), *[number for piece in told for number in piece]]
        table = b"".join([b"%d\n" % number for number in numbers])
        table += bytes(-len(table) % tar.BLOCK)
        data = sum(count for _, count in pieces)
        self._out(headers(member.replace(size=len(table) + data, real_size=member.size)) + table)
        self.entries += 1
        self.data += data
        for offset, count in pieces:
            end = self._copy(source, offset, offset + count)
            self._zeros(offset + count - end)
        self._out(bytes(-data % tar.BLOCK))

    def finish(self) -> None:
        """Two blocks of zeros (POSIX.1-2017, pax)."""
        self._out(bytes(2 * tar.BLOCK))

    def _content(self, source: int, size: int) -> None:
        position = 0
        while position < size:
            try:
                data = min(os.lseek(source, position, os.SEEK_DATA), size)
            except OSError as error:  # ENXIO: only a hole is left; EINVAL: this file system does not tell
                data = size if error.errno == errno.ENXIO else position
            self._zeros(data - position)
            if data >= size:
                break
            try:
                end = min(os.lseek(source, data, os.SEEK_HOLE), size)
            except OSError:
                end = size
            position = self._copy(source, data, end)
            if position < end:
                self._zeros(size - position)
                break
        self._out(bytes(-size % tar.BLOCK))

    def _copy(self, source: int, position: int, end: int) -> int:
        while position < end:
            chunk = os.pread(source, min(_STEP, end - position), position)
            if not chunk:
                break
            self._out(chunk)
            position += len(chunk)
        return position

    def _zeros(self, count: int) -> None:
        while count > 0:
            self._out(_ZEROS[: min(count, _STEP)])
            count -= _STEP


def headers(member: Member) -> bytes:
    """All that stands before a member's content: its header, after a PAX header where there must be one."""
    extended = _pax(member)
    if not extended:
        return _header(member)
    body = b"".join([_record(key, value) for key, value in extended])
    before = _header(Member(name=b"PaxHeaders.0/entry", kind=b"x", mode=0o644, size=len(body)))
    return before + body + bytes(-len(body) % tar.BLOCK) + _header(member)


def _header(member: Member) -> bytes:
    """An ustar header; what does not fit is cut here and whole in the PAX header before it."""
    size = member.size if member.size <= _OCTAL_SIZE else 0
    mtime = member.mtime if 0 <= member.mtime <= _OCTAL_SIZE else 0
    fields = (
        member.name[:100].ljust(100, b"\0"),
        b"%07o\0" % (member.mode & 0o7777),
        b"%07o\0" % (member.uid if member.uid <= _OCTAL_ID else 0),
        b"%07o\0" % (member.gid if member.gid <= _OCTAL_ID else 0),
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        b" " * 8,
        member.kind,
        member.link[:100].ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(64),
        b"%07o\0" % member.major,
        b"%07o\0" % member.minor,
        bytes(167),
    )
    header = b"".join(fields)
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _pax(member: Member) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    if not (_is_text(member.name) and _is_text(member.link)):
        found.append((b"hdrcharset", b"BINARY"))
    if len(member.name) > 100:
        found.append((b"path", member.name))
    if len(member.link) > 100:
        found.append((b"linkpath", member.link))
    if member.size > _OCTAL_SIZE:
        found.append((b"size", b"%d" % member.size))
    if member.real_size is not None:
        found += [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")]
        found += [(b"GNU.sparse.name", member.name), (b"GNU.sparse.realsize", b"%d" % member.real_size)]
    for key, number in ((b"uid", member.uid), (b"gid", member.gid)):
        if number > _OCTAL_ID:
            found.append((key, b"%d" % number))
    if not 0 <= member.mtime <= _OCTAL_SIZE:
        found.append((b"mtime", b"%d" % member.mtime))
    found += [(b"SCHILY.xattr." + os.fsencode(name), value) for name, value in sorted(member.xattrs)]
    return found


def _is_text(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _record(key: bytes, value: bytes) -> bytes:
    """`<length> <key>=<value>\\n`, where the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def pieces_of(fd: int, size: int) -> list[tuple[int, int]] | None:
    """Where a file of `size` bytes has data, short holes taken for data; None for one without holes, or with more
    than a reader would take. Raises OSError."""
    found: list[tuple[int, int]] = []
    end = 0
    while end < size:
        try:
            start = min(os.lseek(fd, end, os.SEEK_DATA), size)
            if start == size:
                break
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                break
            return None  # this file system does not tell
        if found and start - sum(found[-1]) < _SHORT:
            start = found.pop()[0]
        found.append((start, end - start))
    whole = sum(count for _, count in found) == size
    return None if whole or len(found) >= tar.MAX_SPARSE else found


def kind_of(mode: int) -> bytes | None:
    """The entry type of a file by its st_mode; None for what no archive holds (sockets)."""
    return {
        stat.S_IFREG: tar.REGULAR,
        stat.S_IFDIR: tar.DIRECTORY,
        stat.S_IFLNK: tar.SYMLINK,
        stat.S_IFCHR: tar.CHARACTER,
        stat.S_IFBLK: tar.BLOCK_DEVICE,
        stat.S_IFIFO: tar.FIFO,
    }.get(stat.S_IFMT(mode))
