"""A process in a container: its streams, its end, and what it left.

Holds: `Process`, `Result`, the errors that carry a result. Does not hold: starting one (`containers.py`).
"""

from __future__ import annotations

import select
import time

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Self

    from atoll.isolation.protocol import Attachment

OUTPUT_MAX = 64 << 20
"""Most bytes of output that are kept for a result, of both streams together."""
_STDOUT, _STDERR, _CONTROL = 1, 2, 8


class Result(Value):
    """How a command ended: `exit_code` as a shell has it (128 + signal), and what it wrote."""

    args: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text, without its last newline."""
        return self.stdout.decode("utf-8", "replace").removesuffix("\n")

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.exit_code == 0

    def check(self) -> Self:
        """Itself, if it ended with 0. Raises CommandFailed."""
        if self.exit_code:
            raise CommandFailed(self)
        return self


class CommandFailed(errors.FailedPrecondition):
    """A command that was to succeed did not; `result` has all of it."""

    def __init__(self, result: Result) -> None:
        last = result.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        super().__init__(f"{result.args[0]!r} ended with exit code {result.exit_code}{': ' + last if last else ''}")
        self.result = result


class TimedOut(errors.Timeout):
    """A command took longer than it was given, and was killed; `result` has what it wrote until then."""

    def __init__(self, result: Result, seconds: float) -> None:
        super().__init__(f"{result.args[0]!r} did not end within {seconds:g} s and was killed")
        self.result = result


class Process:
    """A process that runs, attached. Not for two threads at once. As a context manager it is killed at the end."""

    def __init__(
        self, attachment: Attachment, args: Sequence[str], *, on_end: Callable[[], None] | None = None
    ) -> None:
        self.args = tuple(args)
        self.exit_code: int | None = None
        self._attachment = attachment
        self._on_end = on_end
        self._kept: list[tuple[int, bytes]] = []

    def write(self, data: bytes) -> None:
        """Send input; waits while the process does not read. Raises FailedPrecondition when it has ended."""
        view = memoryview(data)
        while view:
            if self.exit_code is not None:
                raise errors.FailedPrecondition(f"{self.args[0]!r} has ended and reads no more")
            room = min(self._attachment.room, len(view), 1 << 16)
            if room <= 0:
                self._wait_for_room()
                continue
            self._attachment.send_stdin(view[:room])
            view = view[room:]

    def _wait_for_room(self) -> None:
        # What the process writes meanwhile is kept for whoever reads it.
        self._kept += self._receive(None) or []

    def close_stdin(self) -> None:
        """The end of its input."""
        self._attachment.close_stdin()

    def signal(self, number: int) -> None:
        """Send a signal; one that has ended is fine."""
        if self.exit_code is None:
            self._attachment.signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signals.SIGKILL)

    def output(self, timeout: float | None = None) -> Iterator[tuple[str, bytes]]:
        """What it writes, as it comes: ("stdout" or "stderr", bytes), until it has ended. Raises Timeout when
        `timeout` seconds go by before that; the process goes on then."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for stream, data in self._frames(deadline):
                yield ("stderr" if stream == _STDERR else "stdout"), data
            if self.exit_code is not None:
                return

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, passing over what it writes; the exit code. Raises Timeout; the process goes on then."""
        for _ in self.output(timeout):
            pass
        assert self.exit_code is not None
        return self.exit_code

    def communicate(
        self, stdin: bytes | None = None, timeout: float | None = None, *, limit: int = OUTPUT_MAX
    ) -> Result:
        """Send all input, take all output, wait for the end. Raises TimedOut after killing it, Exhausted after
        killing it for more output than `limit` bytes."""
        deadline = None if timeout is None else time.monotonic() + timeout
        parts: dict[int, list[bytes]] = {_STDOUT: [], _STDERR: []}
        total, left = 0, memoryview(stdin or b"")
        open_input = stdin is not None
        while self.exit_code is None:
            while open_input and (room := min(self._attachment.room, len(left), 1 << 16)) > 0:
                self._attachment.send_stdin(left[:room])
                left = left[room:]
            if open_input and not left:
                self._attachment.close_stdin()
                open_input = False
            try:
                frames = self._frames(deadline)
            except errors.Timeout:
                self._end()
                raise TimedOut(self._result(parts, 128 + signals.SIGKILL), timeout or 0.0) from None
            for stream, data in frames:
                parts[stream].append(data)
                total += len(data)
            if total > limit:
                self._end()
                raise errors.Exhausted(f"{self.args[0]!r} wrote more than {limit} bytes and was killed")
        return self._result(parts, self.exit_code)

    def _result(self, parts: dict[int, list[bytes]], code: int) -> Result:
        out, err = b"".join(parts[_STDOUT]), b"".join(parts[_STDERR])
        return Result(args=self.args, exit_code=code, stdout=out, stderr=err)

    def _frames(self, deadline: float | None) -> list[tuple[int, bytes]]:
        """Frames of output that are there, waiting for some, or for the end. Raises Timeout."""
        if self._kept:
            kept, self._kept = self._kept, []
            return kept
        found = self._receive(deadline)
        if found is None:
            raise errors.Timeout(f"{self.args[0]!r} has not ended in time")
        return found

    def _receive(self, deadline: float | None) -> list[tuple[int, bytes]] | None:
        if self.exit_code is not None:
            return []
        if not self._attachment.waiting():
            poller = select.poll()
            poller.register(self._attachment.fileno(), select.POLLIN)
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not poller.poll(left):
                return None
        frames = self._attachment.receive()
        output = []
        for stream, data in frames:
            if stream == _CONTROL:
                self._told(jsontext.loads(data))
            else:
                output.append((stream, data))
        if self._attachment.ended and self.exit_code is None:
            self._finish(125)
        return output

    def _told(self, message: Any) -> None:
        if message.get("is") == "exit":
            self._finish(int(message["exit"]))
        elif message.get("is") == "error":
            error = errors.from_json(message.get("error"))
            self._finish(125)
            raise error

    def _finish(self, code: int) -> None:
        self.exit_code = code
        try:
            if self._on_end is not None:
                self._on_end()
        finally:
            self._attachment.close()

    def _end(self) -> None:
        """Kill it and take its end in."""
        self.kill()
        try:
            self.wait(10.0)
        except errors.AtollError:
            self.close()

    def close(self) -> None:
        """Leave it; a process of `exec` that still runs goes on. Twice is fine."""
        if self.exit_code is None:
            self._attachment.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.exit_code is None:
            self._end()
