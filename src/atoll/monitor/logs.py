"""A container's log as its monitor writes it: json-file in Docker's shape, k8s-file in that of CRI, journald, none.

Holds: `writer`, `JsonFile`, `K8sFile`. Does not hold: the files and their bounds (`log_files.py`), the journal
(`log_journal.py`), reading any of it (`log_reading.py`), who is told what.

One line of output is one entry:

    json-file   {"log":"text\\n","stream":"stdout","time":"2024-05-01T12:00:00.123456789Z"}
    k8s-file    2024-05-01T12:00:00.123456789Z stdout F text

A line longer than 16 KiB becomes several entries without the newline, as Docker cuts it (in k8s-file: with P instead
of F). Bytes that are no UTF-8 become U+FFFD in json-file, as JSON cannot hold them, and stay in the others.
"""

from __future__ import annotations

import time

from atoll.base import clock, jsontext
from atoll.monitor.log_files import LogFile
from atoll.monitor.log_journal import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from atoll.monitor.requests import LogPlan

    class Writer(Protocol):
        """What every driver can do."""

        def write(self, stream: int, data: bytes, now_ns: int) -> None:
            """Log output of a stream (1 or 2). Raises OSError; what of `data` was not written is lost."""

        def close(self) -> None:
            """Write what is held back and close. Raises OSError."""


PARTIAL = 16 << 10
"""Most bytes of output in one entry (Docker's copier)."""
STREAMS = {1: "stdout", 2: "stderr"}

_PLAIN = bytes(one for one in range(0x20, 0x100) if one not in b'"\\') + b"\n"
"""What stands in JSON as it is, and the newline, which every entry ends with."""
_SHORT = {0x22: b'\\"', 0x5C: b"\\\\", 8: b"\\b", 9: b"\\t", 12: b"\\f", 13: b"\\r"}
_ESCAPES = [(bytes((one,)), _SHORT.get(one, b"\\u%04x" % one)) for one in (0x5C, *range(10), *range(11, 32), 0x22)]
"""The backslash before those that bring one."""


def writer(plan: LogPlan) -> Writer | None:
    """What writes the log that is asked for; None for none. Opens nothing yet."""
    if plan.driver == "json-file":
        return JsonFile(plan.path, plan.max_size, plan.max_files, plan.compress, plan.attributes)
    if plan.driver == "k8s-file":
        return K8sFile(plan.path, plan.max_size, plan.max_files, plan.compress)
    if plan.driver == "journald":
        return Journal(plan.path, plan.attributes)
    return None


class _Lines:
    """Cuts output into entries. Memory is bounded by one `write`, 16 KiB for each stream, and what a slice of that
    becomes. Drivers say how `lines` (each with its newline) and a `part` of one look."""

    def __init__(self, path: str, max_size: int, max_files: int, compress: bool = False) -> None:
        self.file = LogFile(path, max_size, max_files, compress)
        self._held: dict[int, bytes] = {}

    def lines(self, data: bytes, stream: str, now_ns: int) -> bytes:
        """Entries of whole lines."""
        raise NotImplementedError

    def part(self, data: bytes, stream: str, now_ns: int) -> bytes:
        """The entry of a piece without newline."""
        raise NotImplementedError

    def write(self, stream: int, data: bytes, now_ns: int) -> None:
        """Log output of a stream (1 or 2). A line without its end is held back until it comes, or 16 KiB have.

        Raises OSError; what of `data` was not written is lost, and the file ends with a whole entry.
        """
        held = self._held.pop(stream, b"")
        if held:
            data = held + data
        name = STREAMS.get(stream, "stdout")
        position, end = 0, len(data)
        # By slices: JSON may be six times as long as what it says, and a line of one letter fifty times.
        while position < end:
            newline = data.rfind(b"\n", position, position + PARTIAL)
            if newline >= 0:
                cut = newline + 1
                self.file.append(self.lines(data[position:cut], name, now_ns))
            elif end - position >= PARTIAL:
                cut = _character_end(data, position, position + PARTIAL)
                self.file.append(self.part(data[position:cut], name, now_ns))
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
                self.file.append(self.part(rest, STREAMS.get(stream, "stdout"), time.time_ns()))
        finally:
            self.file.close()


class JsonFile(_Lines):
    """Docker's json-file. `attributes` are what `--log-opt labels, env, tag` put into every entry."""

    def __init__(
        self,
        path: str,
        max_size: int,
        max_files: int,
        compress: bool = False,
        attributes: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(path, max_size, max_files, compress)
        self._attributes = f',"attrs":{jsontext.dumps(dict(attributes))}' if attributes else ""

    def _tail(self, stream: str, now_ns: int) -> bytes:
        return f'","stream":"{stream}"{self._attributes},"time":"{clock.rfc3339_fixed(now_ns)}"}}\n'.encode()

    def lines(self, data: bytes, stream: str, now_ns: int) -> bytes:
        """All escaped at once; then each newline becomes what stands between two texts."""
        tail = b"\\n" + self._tail(stream, now_ns)
        return b"".join((b'{"log":"', escape(data)[:-1].replace(b"\n", tail + b'{"log":"'), tail))

    def part(self, data: bytes, stream: str, now_ns: int) -> bytes:
        """One entry."""
        return b"".join((b'{"log":"', escape(data), self._tail(stream, now_ns)))


class K8sFile(_Lines):
    """The shape of Kubernetes' CRI, which is podman's k8s-file, too."""

    def lines(self, data: bytes, stream: str, now_ns: int) -> bytes:
        """F for full."""
        head = f"{clock.rfc3339_fixed(now_ns)} {stream} F ".encode()
        return b"".join((head, data[:-1].replace(b"\n", b"\n" + head), b"\n"))

    def part(self, data: bytes, stream: str, now_ns: int) -> bytes:
        """P for partial."""
        return b"".join((f"{clock.rfc3339_fixed(now_ns)} {stream} P ".encode(), data, b"\n"))


def escape(data: bytes) -> bytes:
    """Bytes as the inside of a JSON string, but for newlines, which stay. Passes over the whole at the speed of C,
    and one for each kind of character that has to be escaped and is there at all: output is mostly plain."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            data = data.decode("utf-8", "replace").encode()
    special = data.translate(None, _PLAIN)
    if special:
        for one, shown in _ESCAPES:
            if one in special:
                data = data.replace(one, shown)
    return data


def _character_end(data: bytes, start: int, end: int) -> int:
    """`end`, or up to three bytes before it so that no UTF-8 character is cut in two."""
    cut = end
    while cut > start and cut > end - 4 and cut < len(data) and data[cut] & 0xC0 == 0x80:
        cut -= 1
    if cut < len(data) and data[cut] & 0xC0 == 0x80:
        return end
    return cut if cut > start else end
