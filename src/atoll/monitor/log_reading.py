"""Reading a container's log files: across rotation, compressed ones too, while they grow.

Holds: `Entry`, `read_log`, `read_output`, the shapes that lines have. Does not hold: writing (`logs.py`,
`log_files.py`), the journal (`engine/containers/journal_log.py`), which of it a command shows.

Links are not followed. Memory is bounded by a block and the longest line that is taken for one (LINE_MAX): what is
longer was not written by us, and is passed over.
"""

from __future__ import annotations

import errno
import os
import time
import zlib

from atoll.base import clock, jsontext
from atoll.monitor.log_files import COMMENT, PACKED, identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Parse = Callable[[bytes], "Entry | None"]

LINE_MAX = 1 << 20
"""Most bytes of a line: an entry of 16 KiB, six times escaped, and attributes."""
_POLL_MIN, _POLL_MAX = 0.02, 0.25
_BLOCK = 1 << 18
_BEFORE = b'{"log":"'
_TIME = len("2024-05-01T12:00:00.123456789Z")


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


def json_entry(line: bytes) -> Entry | None:
    """A line of json-file; None for a damaged one."""
    try:
        record = jsontext.loads(line)
        return Entry((record["stream"], record["time"], record["log"].encode("utf-8", "replace")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def k8s_entry(line: bytes) -> Entry | None:
    """A line of k8s-file; None for a damaged one."""
    words = line.split(b" ", 3)
    if len(words) < 4 or words[1] not in (b"stdout", b"stderr") or not words[0].isascii():
        return None
    # CRI's tags are a list with colons, of which the first says whether the line is whole.
    whole = words[2].partition(b":")[0] == b"F"
    return Entry((words[1].decode(), words[0].decode(), words[3] + b"\n" if whole else words[3]))


SHAPES: dict[str, Parse] = {"json-file": json_entry, "k8s-file": k8s_entry}


def read_log(
    path: str,
    *,
    follow: bool = False,
    since: int | None = None,
    until: int | None = None,
    tail: int | None = None,
    running: Callable[[], bool] | None = None,
    shape: str = "json-file",
) -> Iterator[Entry]:
    """The entries of a log, oldest first, across its rotated files.

    `since` and `until` in nanoseconds since the epoch, `tail` counts entries. With `follow` it goes on until
    `running()` is false and everything is read, or `until` has passed. A damaged line is passed over. Raises OSError.
    """
    parse = SHAPES[shape]
    more = running
    if follow and until is not None:

        def more() -> bool:
            return time.time_ns() <= until and (running is None or running())

    for line in _raw_lines(path, tail, follow, more):
        entry = parse(line)
        if entry is None:
            continue
        if since is not None or until is not None:
            at = entry.time_ns
            if since is not None and at < since:
                continue
            if until is not None and at > until:
                return
        yield entry


def read_output(path: str, *, tail: int | None = None, shape: str = "json-file") -> Iterator[tuple[str, bytes]]:
    """What was written, oldest first, as (stream, output) in pieces of many entries; for a reader to whom when and in
    how many pieces it came is all the same. Up to now only. A damaged line is passed over. Raises OSError."""
    pieces = _outputs if shape == "json-file" else _k8s_outputs
    parts = _open_all(path)
    try:
        if tail is not None:
            _seek_tail(parts, tail)
        for part in parts:
            rest = b""
            while block := part.read():
                data = rest + block
                cut = data.rfind(b"\n") + 1
                rest = data[cut:] if len(data) - cut <= LINE_MAX else b""
                if cut:
                    yield from pieces(data[:cut])
    finally:
        for part in parts:
            part.close()


def _k8s_outputs(lines: bytes) -> Iterator[tuple[str, bytes]]:
    """One piece if all lines are full ones of one stream, as ours are: its time has 30 letters, what follows 10."""
    every = lines[:-1].split(b"\n")
    words = every[0][30:40]
    if words in (b" stdout F ", b" stderr F ") and all(one[30:40] == words for one in every):
        yield words[1:7].decode(), b"\n".join([one[40:] for one in every]) + b"\n"
        return
    for line in every:
        entry = k8s_entry(line)
        if entry is not None:
            yield entry.stream, entry.data


def _outputs(lines: bytes) -> Iterator[tuple[str, bytes]]:
    """One piece if all lines are plainly of one stream: then what stands around their texts is cut off, and the rest
    unescaped as one text. A quote within a text is escaped, so that nothing in a text looks like what is cut."""
    first = lines[: lines.index(b"\n")]
    stream = "stderr" if b'","stream":"stderr","time":"' in first else "stdout"
    after = b'","stream":"%b","time":"' % stream.encode()
    plain = _plain(lines, after)
    if plain is not None:
        yield stream, plain
        return
    every = lines[:-1].split(b"\n")
    body = _texts(every, after)
    if body is not None:
        try:
            yield stream, _unescaped(body)
            return
        except ValueError:  # one of them is damaged
            pass
    for line in every:
        entry = json_entry(line)
        if entry is not None:
            yield entry.stream, entry.data


def _plain(lines: bytes, after: bytes) -> bytes | None:
    """What most output is: whole lines without anything that is escaped but the newline at their ends, and times with
    all nine decimals, so that each line is cut at the same places; None for others. A damaged line is part of another
    one then, whose escapes give it away."""
    if not lines.startswith(_BEFORE) or not lines.endswith(b'"}\n'):
        return None
    every = lines[len(_BEFORE) : -3].split(b'"}\n' + _BEFORE)
    middle = b"\\n" + after
    cut = -len(middle) - _TIME
    found = [one[:cut] for one in every if one[cut:-_TIME] == middle]
    if len(found) < len(every):
        return None
    body = b"\n".join(found)
    return None if b"\\" in body else body + b"\n"


def _texts(every: list[bytes], after: bytes) -> bytes | None:
    """The lines' texts, still escaped, when each is a text followed by `after` and a time alone; else None."""
    found = []
    for line in every:
        at = line.rfind(after)
        moment, end = line[at + len(after) : -2], line[-2:]
        if at < 0 or line[:8] != _BEFORE or end != b'"}' or b"\\" in moment or b'"' in moment:
            return None
        found.append(line[8:at])
    return b"".join(found)


def _unescaped(body: bytes) -> bytes:
    """What a text of JSON says. Raises ValueError. Nearly all have two kinds of escapes, for which no parser is
    needed."""
    if b"\\\\" not in body:
        plain = body.replace(b"\\n", b"\n").replace(b'\\"', b'"')
        if b"\\" not in plain:
            return plain
    text: str = jsontext.loads(b'"%b"' % body)
    return text.encode("utf-8", "replace")


class _Part:
    """One file of a log, read from a place on."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read(self) -> bytes:
        """The next block, b"" at the end for now."""
        return os.read(self.fd, _BLOCK)

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)

    def is_same(self, other: _Part) -> bool:
        """Whether it is the same file under another name, or compressed meanwhile."""
        if isinstance(other, _Packed):
            return other.is_same(self)
        return os.fstat(self.fd).st_ino == os.fstat(other.fd).st_ino

    def seek_tail(self, count: int) -> int:
        """Go to where the last `count` lines begin; how many of them it has."""
        found, offset = _last_lines(self.fd, count)
        os.lseek(self.fd, offset, os.SEEK_SET)
        return found


class _Packed(_Part):
    """A compressed one (RFC 1952). A damaged one ends where the damage is."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        head = os.pread(fd, 128, 0)
        commented = head[:2] == b"\x1f\x8b" and head[3:4] == bytes((COMMENT,))
        self.origin = head[10 : head.find(b"\0", 10)] if commented else b""
        self._inflate = zlib.decompressobj(31)

    def read(self) -> bytes:
        try:
            while not self._inflate.eof:
                more = self._inflate.unconsumed_tail or os.read(self.fd, _BLOCK)
                data = self._inflate.decompress(more, _BLOCK)
                if data or not more:
                    return data
        except zlib.error:
            pass
        return b""

    def is_same(self, other: _Part) -> bool:
        mine = self.origin or identity(self.fd)
        return mine == (other.origin if isinstance(other, _Packed) else identity(other.fd))

    def seek_tail(self, count: int) -> int:
        lines = self._count_lines()
        skip = max(0, lines - count)
        self._again()
        while skip > 0:
            block = self.read()
            if not block:
                break
            found = block.count(b"\n")
            if found < skip:
                skip -= found
                continue
            at = 0
            for _ in range(skip):
                at = block.index(b"\n", at) + 1
            skip = 0
            self._begin(block[at:])
        return min(lines, count)

    def _count_lines(self) -> int:
        lines = 0
        while block := self.read():
            lines += block.count(b"\n")
        return lines

    def _again(self) -> None:
        os.lseek(self.fd, 0, os.SEEK_SET)
        self._inflate = zlib.decompressobj(31)

    def _begin(self, rest: bytes) -> None:
        """What was read too much comes first."""
        whole = self.read

        def read() -> bytes:
            self.read = whole  # type: ignore[method-assign]
            return rest or whole()

        self.read = read  # type: ignore[method-assign]


def _raw_lines(path: str, tail: int | None, follow: bool, running: Callable[[], bool] | None) -> Iterator[bytes]:
    parts = _open_all(path)
    try:
        if tail is not None:
            _seek_tail(parts, tail)
        while True:
            if not parts:
                over = not follow or running is None or not running()
                if follow:
                    parts = _open_all(path)
                if over and not parts:
                    return
                if not parts:
                    time.sleep(_POLL_MAX)
                continue
            part = parts[0]
            if len(parts) == 1 and follow:
                yield from _follow(part, path, running)
                parts += _next(path, part, running)
                follow = len(parts) > 1
            else:
                yield from _read_lines(part)
            parts.pop(0).close()
    finally:
        for part in parts:
            part.close()


def _open(path: str) -> _Part | None:
    """The file, plain or compressed. Only regular files are logs: O_NONBLOCK, lest a fifo in its place holds us."""
    for name, make in ((path, _Part), (path + PACKED, _Packed)):
        try:
            return make(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
        except FileNotFoundError:
            continue
    return None


def _open_all(path: str) -> list[_Part]:
    """All files, oldest first. Opened newest first, so that a rotation meanwhile shows as a file met twice rather
    than as one missed. While it moves them one number is nobody's, so that only two of them are the end."""
    parts: list[_Part] = []
    number = missing = 0
    while missing < 2:
        part = _open(path if number == 0 else f"{path}.{number}")
        if part is None:
            missing += number > 0
            number += 1
            continue
        missing = 0
        if any(part.is_same(other) for other in parts):
            part.close()
        else:
            parts.append(part)
        number += 1
    return parts[::-1]


def _next(path: str, part: _Part, running: Callable[[], bool] | None) -> list[_Part]:
    """The files after this one, once there are any: a rotated log has no newest file until something is written. None
    when the container has ended."""
    while True:
        over = running is not None and not running()
        newer = _newer(path, part)
        if newer or over:
            return newer
        time.sleep(_POLL_MIN)


def _newer(path: str, part: _Part) -> list[_Part]:
    """The files that came after this one, oldest first; all there are if it has been rotated away."""
    every = _open_all(path)
    same = [index for index, one in enumerate(every) if one.is_same(part)]
    after = same[0] + 1 if same else 0
    for one in every[:after]:
        one.close()
    return every[after:]


def _cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole lines, and what is left of the last."""
    *lines, rest = data.split(b"\n")
    return lines, rest if len(rest) <= LINE_MAX else b""


def _read_lines(part: _Part) -> Iterator[bytes]:
    rest = b""
    while block := part.read():
        lines, rest = _cut(rest + block)
        yield from lines


def _follow(part: _Part, path: str, running: Callable[[], bool] | None) -> Iterator[bytes]:
    """Lines of the newest file as they come, until it is rotated or the container has ended."""
    rest, pause = b"", _POLL_MIN
    while True:
        # Asked before the read: what was written before the end is then read after it.
        over = _rotated(path, part) or (running is not None and not running())
        while block := part.read():
            pause = _POLL_MIN
            lines, rest = _cut(rest + block)
            yield from lines
        if over:
            return
        time.sleep(pause)
        pause = min(pause * 1.5, _POLL_MAX)


def _rotated(path: str, part: _Part) -> bool:
    if isinstance(part, _Packed):
        return True
    try:
        return os.stat(path, follow_symlinks=False).st_ino != os.fstat(part.fd).st_ino
    except OSError as error:
        return error.errno == errno.ENOENT


def _seek_tail(parts: list[_Part], count: int) -> None:
    """Move them so that the last `count` lines are left to read; files before them are closed."""
    wanted = count
    for index in range(len(parts) - 1, -1, -1):
        wanted -= parts[index].seek_tail(wanted)
        if wanted <= 0:
            for part in parts[:index]:
                part.close()
            del parts[:index]
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
