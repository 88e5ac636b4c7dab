"""A container's log: Docker's json-file shape, written with bounds, read across rotation.

Holds: `LogWriter` (the monitor's side), `read_log`, `read_output` (the command's). Does not hold: who is told what.

    <path>  <path>.1  <path>.2 …      newest first; each at most `max_size` bytes, `max_files` in all

One line is one entry: {"log":"text\\n","stream":"stdout","time":"2024-05-01T12:00:00.123456789Z"}. A line of output
longer than 16 KiB becomes several entries without the newline, as Docker cuts it; bytes that are no UTF-8 become
U+FFFD, as JSON cannot hold them.
"""

from __future__ import annotations

import errno
import os
import time

from atoll.base import clock, files, jsontext

try:
    from _json import encode_basestring
except ImportError:  # an interpreter without the C accelerator
    from json.encoder import py_encode_basestring as encode_basestring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTIAL = 16 << 10
"""Most bytes of output in one entry (Docker's copier)."""
STREAMS = {1: "stdout", 2: "stderr"}

# Stands for the newline while a block goes through the encoder in one piece, and is looked for in the block first: a
# character that output hardly has, that JSON does not escape, and below U+0100, lest Python take four bytes for each.
_MARK = "\x7f"
_POLL_MIN, _POLL_MAX = 0.02, 0.25
_BLOCK = 1 << 18
_BEFORE = b'{"log":"'


class LogWriter:
    """Appends a container's output to its log. Memory is bounded by one `write` and 16 KiB for each stream.

    `max_size` 0 or less is no bound and no rotation. The file is opened by the first entry.
    """

    def __init__(self, path: str, max_size: int, max_files: int) -> None:
        self.path = path
        self.max_size = max_size
        self.max_files = max(1, max_files)
        self._fd = -1
        self._size = 0
        self._held: dict[int, bytes] = {}

    def write(self, stream: int, data: bytes, now_ns: int) -> None:
        """Log output of a stream (1 or 2). A line without its end is held back until it comes, or 16 KiB have.

        Raises OSError; what of `data` was not written is lost, and the file ends with a whole entry.
        """
        held = self._held.pop(stream, b"")
        if held:
            data = held + data
        tail = f'","stream":"{STREAMS.get(stream, "stdout")}","time":"{clock.rfc3339(now_ns)}"}}\n'
        position, end = 0, len(data)
        # By slices: JSON may be six times as long as what it says, and a line of one letter fifty times.
        while position < end:
            newline = data.rfind(b"\n", position, position + PARTIAL)
            if newline >= 0:
                cut = newline + 1
                self._append(_lines(data[position:cut], tail))
            elif end - position >= PARTIAL:
                cut = _character_end(data, position, position + PARTIAL)
                self._append(_entry(data[position:cut], tail))
            else:
                break
            position = cut
        if position < end:
            self._held[stream] = bytes(data[position:])

    def close(self) -> None:
        """Write what is held back and close. Raises OSError."""
        try:
            for stream in sorted(self._held):
                rest = self._held.pop(stream)
                tail = f'","stream":"{STREAMS.get(stream, "stdout")}","time":"{clock.rfc3339(time.time_ns())}"}}\n'
                self._append(_entry(rest, tail))
        finally:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _append(self, block: bytes) -> None:
        """Write whole entries, rotating where the bound asks for it."""
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
                if cut == 0:  # one entry beyond the bound, in a file of its own
                    cut = block.find(b"\n") + 1
                part = block[:cut]
            self._put(part)
            block = block[len(part) :]

    def _put(self, part: bytes) -> None:
        written = 0
        try:
            while written < len(part):
                written += os.write(self._fd, part[written:] if written else part)
        except OSError:
            # Half an entry would spoil the next one too.
            os.ftruncate(self._fd, self._size)
            raise
        self._size += written

    def _open(self) -> None:
        # O_NOFOLLOW: a link planted in place of the log must not lead a writer elsewhere (CVE-2022-23648's lesson).
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        os.close(self._fd)
        self._fd = -1
        for number in range(self.max_files - 1, 0, -1):
            older = self.path if number == 1 else f"{self.path}.{number - 1}"
            try:
                os.rename(older, f"{self.path}.{number}")
            except FileNotFoundError:
                pass
        if self.max_files == 1:
            files.unlink_if_present(self.path)


def _lines(data: bytes, tail: str) -> bytes:
    """Entries for whole lines, all through the encoder at once."""
    text = data.decode("utf-8", "replace")
    if _MARK in text:
        return b"".join([_entry(line + b"\n", tail) for line in data[:-1].split(b"\n")])
    encoded: str = encode_basestring(text[:-1].replace("\n", _MARK))
    # Strip the quotes that the encoder put around the block; every entry gets its own.
    tail = "\\n" + tail
    return "".join(('{"log":"', encoded[1:-1].replace(_MARK, tail + '{"log":"'), tail)).encode("utf-8", "replace")


def _entry(data: bytes, tail: str) -> bytes:
    encoded: str = encode_basestring(data.decode("utf-8", "replace"))
    return ('{"log":' + encoded[:-1] + tail).encode("utf-8", "replace")


def _character_end(data: bytes, start: int, end: int) -> int:
    """`end`, or up to three bytes before it so that no UTF-8 character is cut in two."""
    cut = end
    while cut > start and cut > end - 4 and cut < len(data) and data[cut] & 0xC0 == 0x80:
        cut -= 1
    if cut < len(data) and data[cut] & 0xC0 == 0x80:
        return end
    return cut if cut > start else end


class Entry(tuple[str, str, bytes]):
    """One entry: the stream's name, the time as it was written, the output."""

    __slots__ = ()

    @property
    def stream(self) -> str:
        """`stdout` or `stderr`."""
        return self[0]

    @property
    def time(self) -> str:
        """RFC 3339 UTC."""
        return self[1]

    @property
    def time_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return clock.parse(self[1])

    @property
    def data(self) -> bytes:
        """The output, with its newline if it had one."""
        return self[2]


def read_log(
    path: str,
    *,
    follow: bool = False,
    since: int | None = None,
    until: int | None = None,
    tail: int | None = None,
    running: Callable[[], bool] | None = None,
) -> Iterator[Entry]:
    """The entries of a log, oldest first, across its rotated files.

    `since` and `until` in nanoseconds since the epoch, `tail` counts entries. With `follow` it goes on until
    `running()` is false and everything is read. A damaged line is passed over. Raises OSError.
    """
    for line in _raw_lines(path, tail, follow, running):
        entry = _parse(line)
        if entry is None:
            continue
        if since is not None or until is not None:
            at = entry.time_ns
            if since is not None and at < since:
                continue
            if until is not None and at > until:
                return
        yield entry


def read_output(path: str, *, tail: int | None = None) -> Iterator[tuple[str, bytes]]:
    """What was written, oldest first, as (stream, output) in pieces of many entries; for a reader to whom when and in
    how many pieces it came is all the same. Up to now only. A damaged line is passed over. Raises OSError."""
    opened = _open_all(path)
    try:
        if tail is not None:
            _seek_tail(opened, tail)
        for fd in opened:
            rest = b""
            while block := os.read(fd, _BLOCK):
                data = rest + block
                cut = data.rfind(b"\n") + 1
                rest = data[cut:]
                if cut:
                    yield from _outputs(data[:cut])
    finally:
        for fd in opened:
            os.close(fd)


def _outputs(lines: bytes) -> Iterator[tuple[str, bytes]]:
    """One piece if all lines are plainly of one stream: then what stands between their texts is cut out, and the rest
    unescaped as one text. A quote within a text is escaped, so that nothing in a text looks like what is cut."""
    first = lines[: lines.index(b"\n")]
    stream = "stderr" if b'","stream":"stderr","time":"' in first else "stdout"
    body = _texts(lines, b'","stream":"%b","time":"' % stream.encode())
    if body is not None:
        try:
            yield stream, _unescaped(body)
            return
        except ValueError:  # one of them is damaged
            pass
    for line in lines.split(b"\n"):
        entry = _parse(line)
        if entry is not None:
            yield entry.stream, entry.data


def _unescaped(body: bytes) -> bytes:
    """What a text of JSON says. Raises ValueError. Nearly all have two kinds of escapes, for which no parser is
    needed."""
    if b"\\\\" not in body:
        plain = body.replace(b"\\n", b"\n").replace(b'\\"', b'"')
        if b"\\" not in plain:
            return plain
    text: str = jsontext.loads(b'"%b"' % body)
    return text.encode("utf-8", "replace")


def _texts(lines: bytes, after: bytes) -> bytes | None:
    """The lines' texts, still escaped, when each is a text followed by `after` and a time alone; else None.

    All entries of one write have one time: what is between two of them is the same bytes for hundreds of lines.
    """
    if not lines.startswith(_BEFORE):
        return None
    body = (lines + _BEFORE)[len(_BEFORE) :]
    count = 0
    while (at := body.find(after)) >= 0:
        stop = body.find(b"\n", at) + 1 + len(_BEFORE)
        between = body[at:stop]
        time_end = between[len(after) :].partition(b'"')
        if time_end[2] != b"}\n" + _BEFORE or b"\\" in time_end[0]:
            return None
        parts = body.split(between)  # one search, where `count` and `replace` would take three
        count += len(parts) - 1
        body = b"".join(parts)
    return body if count == lines.count(b"\n") else None


def _parse(line: bytes) -> Entry | None:
    try:
        record = jsontext.loads(line)
        return Entry((record["stream"], record["time"], record["log"].encode("utf-8", "replace")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _raw_lines(path: str, tail: int | None, follow: bool, running: Callable[[], bool] | None) -> Iterator[bytes]:
    opened = _open_all(path)
    try:
        if tail is not None:
            _seek_tail(opened, tail)
        while True:
            if not opened:
                over = not follow or running is None or not running()
                if follow:
                    opened = _open_all(path)
                if over and not opened:
                    return
                if not opened:
                    time.sleep(_POLL_MAX)
                continue
            fd = opened[0]
            if len(opened) == 1 and follow:
                yield from _follow(fd, path, running)
                opened += _newer(path, fd)
                follow = len(opened) > 1
            else:
                yield from _read_lines(fd)
            os.close(opened.pop(0))
    finally:
        for fd in opened:
            os.close(fd)


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def _open_all(path: str) -> list[int]:
    """Descriptors of all files, oldest first. Opened newest first, so that a rotation meanwhile shows as a file met
    twice rather than as one missed."""
    fds: list[int] = []
    number = 0
    while True:
        fd = _open(path if number == 0 else f"{path}.{number}")
        if fd is None:
            if number:
                break
        elif any(_inode(fd) == _inode(other) for other in fds):
            os.close(fd)
        else:
            fds.append(fd)
        number += 1
    return fds[::-1]


def _newer(path: str, fd: int) -> list[int]:
    """The files that came after `fd`, oldest first; all there are if it has been rotated away."""
    every = _open_all(path)
    inodes = [_inode(one) for one in every]
    after = inodes.index(_inode(fd)) + 1 if _inode(fd) in inodes else 0
    for one in every[:after]:
        os.close(one)
    return every[after:]


def _read_lines(fd: int) -> Iterator[bytes]:
    rest = b""
    while block := os.read(fd, _BLOCK):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from lines


def _follow(fd: int, path: str, running: Callable[[], bool] | None) -> Iterator[bytes]:
    """Lines of the newest file as they come, until it is rotated or the container has ended."""
    rest, pause = b"", _POLL_MIN
    while True:
        # Asked before the read: what was written before the end is then read after it.
        over = _rotated(path, fd) or (running is not None and not running())
        while block := os.read(fd, _BLOCK):
            pause = _POLL_MIN
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            yield from lines
        if over:
            return
        time.sleep(pause)
        pause = min(pause * 1.5, _POLL_MAX)


def _rotated(path: str, fd: int) -> bool:
    try:
        return os.stat(path, follow_symlinks=False).st_ino != _inode(fd)
    except OSError as error:
        return error.errno == errno.ENOENT


def _seek_tail(fds: list[int], count: int) -> None:
    """Move the descriptors so that the last `count` lines are left to read; files before them are closed."""
    wanted = count
    for index in range(len(fds) - 1, -1, -1):
        found, offset = _last_lines(fds[index], wanted)
        os.lseek(fds[index], offset, os.SEEK_SET)
        wanted -= found
        if wanted <= 0:
            for fd in fds[:index]:
                os.close(fd)
            del fds[:index]
            return


def _last_lines(fd: int, count: int) -> tuple[int, int]:
    """How many of the last `count` lines this file has, and where they begin."""
    end = os.fstat(fd).st_size
    if count <= 0:
        return 0, end
    found, position = 0, end
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        block = os.pread(fd, size, position)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            if position + at == end - 1:
                continue  # the end of the last line, not the beginning of one
            found += 1
            if found == count:
                return found, position + at + 1
    return (found + 1 if end else 0), 0
