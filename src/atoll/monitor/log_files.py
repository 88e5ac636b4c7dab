"""Files of a log: whole lines appended within bounds, the older ones kept beside, compressed if that is asked for.

Holds: `LogFile`, `compress`, the names. Does not hold: what a line says (`logs.py`), reading (`log_reading.py`).

    <path>  <path>.1  <path>.2 …      newest first; each at most `max_size` bytes, `max_files` in all
            <path>.1.gz …             the same, compressed

Compressing is a fork's (its pages and 300 KiB of zlib's go with it), which holds an exclusive flock(2) on the file it
reads: whoever rotates next waits for that lock, so that no name changes its meaning under the fork. A fork that is
killed leaves the file as it was. The compressed file says which one it was in its gzip comment (RFC 1952), so that a
reader that meets both in the middle of it takes one.
"""

from __future__ import annotations

import fcntl
import os
import zlib

from atoll.base import files
from atoll.monitor.spawning import in_fork

PACKED = ".gz"
COMMENT = 0x10
"""FCOMMENT of RFC 1952."""
_HEAD = b"\x1f\x8b\x08" + bytes((COMMENT,)) + b"\0\0\0\0\0\xff"
_BLOCK = 1 << 17
_FD_LAST = 0x7FFFFFFF


def identity(fd: int) -> bytes:
    """What tells a file that is not written to any more from every other: an inode is used again, at another time."""
    found = os.fstat(fd)
    return b"%d-%d" % (found.st_ino, found.st_mtime_ns)


class LogFile:
    """The files of one log. `max_size` 0 or less is no bound and no rotation. The newest is opened by the first
    `append`."""

    __slots__ = ("_fd", "_size", "max_files", "max_size", "packed", "path")

    def __init__(self, path: str, max_size: int, max_files: int, packed: bool = False) -> None:
        self.path = path
        self.max_size = max_size
        self.max_files = max(1, max_files)
        self.packed = packed and self.max_files > 1
        self._fd = -1
        self._size = 0

    def append(self, block: bytes) -> None:
        """Write whole lines, rotating where the bound asks for it. Raises OSError; the file ends with a whole line
        then, too."""
        while block:
            if self._fd < 0:
                self._open()
            part = block
            if self.max_size > 0 and self._size + len(block) > self.max_size:
                room = self.max_size - self._size
                cut = block.rfind(b"\n", 0, max(room, 0)) + 1
                if cut == 0 and self._size > 0:
                    self._rotate()
                    continue
                if cut == 0:  # one line beyond the bound, in a file of its own
                    cut = block.find(b"\n") + 1
                part = block[:cut]
            self._put(part)
            block = block[len(part) :]

    def close(self) -> None:
        """The next `append` opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _put(self, part: bytes) -> None:
        written = 0
        try:
            while written < len(part):
                written += os.write(self._fd, part[written:] if written else part)
        except OSError:
            # Half a line would spoil the next one too.
            os.ftruncate(self._fd, self._size)
            raise
        self._size += written

    def _open(self) -> None:
        # O_NOFOLLOW: a link planted in place of the log must not lead a writer elsewhere (CVE-2022-23648's lesson).
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        self.close()
        if self.packed:
            _await_packing(f"{self.path}.1")
        for number in range(self.max_files - 1, 0, -1):
            older = self.path if number == 1 else f"{self.path}.{number - 1}"
            endings = ("", PACKED) if self.packed and number > 1 else ("",)
            for ending in endings:
                try:
                    os.rename(older + ending, f"{self.path}.{number}{ending}")
                except FileNotFoundError:
                    continue
                # What had this number before is over, whichever of the two it was.
                files.unlink_if_present(f"{self.path}.{number}{'' if ending else PACKED}")
        if self.max_files == 1:
            files.unlink_if_present(self.path)
        elif self.packed:
            self._pack(f"{self.path}.1")

    def _pack(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fork() == 0:
                in_fork(lambda: _packer(fd, path))
        except OSError:  # too many processes just now: this one stays as it is
            pass
        finally:
            os.close(fd)


def _await_packing(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)


def _packer(fd: int, path: str) -> int:
    os.closerange(3, fd)  # connections and the streams of a container are nothing of ours
    os.closerange(fd + 1, _FD_LAST)
    os.nice(10)
    try:
        compress(fd, path)
    except OSError:  # a full disk: it stays as it is
        files.unlink_if_present(f"{path}{PACKED}.part")
    return 0


def compress(fd: int, path: str) -> None:
    """Make `<path>.gz` of the file, then remove it. Raises OSError; both may be there then, never neither."""
    part = f"{path}{PACKED}.part"
    files.unlink_if_present(part)
    out = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        deflate, crc, size = zlib.compressobj(6, zlib.DEFLATED, -15), 0, 0
        files.write_all(out, _HEAD + identity(fd) + b"\0")
        while block := os.pread(fd, _BLOCK, size):
            crc, size = zlib.crc32(block, crc), size + len(block)
            files.write_all(out, deflate.compress(block))
        end = crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
        files.write_all(out, deflate.flush() + end)
    finally:
        os.close(out)
    os.rename(part, f"{path}{PACKED}")
    os.unlink(path)
