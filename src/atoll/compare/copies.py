"""One running copy of the program at some rung: its process in front, and what the program says.

Holds: `Copy`, `Failed`. Does not hold: how it is started (`rungs/`).
"""

from __future__ import annotations

import os
import select
import subprocess
import time

from atoll.base import errors
from atoll.compare.program import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from atoll.compare.program.records import Record

FAILURES = (errors.AtollError, OSError, subprocess.SubprocessError)
"""What goes wrong at one rung, and is the reason why it has no number."""
START = 120.0
"""Seconds that a copy may take until its first word: a machine that is emulated takes some."""
RUN = 300.0


class Copy:
    """`argv` begun now; `name` is what its rung calls it. `began` is the clock when that was. One that is not `piped`
    cannot be heard."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str,
        env: Mapping[str, str],
        cwd: str = "/",
        log: str = "/dev/null",
        enter: Callable[[], None] | None = None,
        piped: bool = True,
    ) -> None:
        self.name = name
        self._said = b""
        self._log = log
        with open(log, "ab") as errors_to:
            self._log_from = errors_to.tell()
            self.began = time.monotonic()
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else subprocess.DEVNULL,
                stderr=errors_to,
                env=dict(env),
                cwd=cwd,
                preexec_fn=enter,
                start_new_session=True,
            )
        self._out = self.process.stdout.fileno() if self.process.stdout is not None else -1
        self._ended = self._out < 0
        self._heard = 0.0

    def first(self, seconds: float = START) -> tuple[Record, float]:
        """The first record, and how long after the beginning its first byte was here. Raises Timeout, Unavailable
        with the last words of the command when it ended without one."""
        while True:
            found = records.parse(self._said)
            if found:
                return found[0], self._heard
            if not self._more(seconds):
                raise errors.Unavailable(f"it ended without a word: {self.last_words()}")

    def all(self, seconds: float = RUN) -> list[Record]:
        """Every record until its end. Raises Timeout, Unavailable when there is none."""
        while self._more(seconds):
            pass
        self.process.wait(10)
        found = records.parse(self._said)
        if not found:
            raise errors.Unavailable(f"it ended without a word: {self.last_words()}")
        return found

    def _more(self, seconds: float) -> bool:
        """Read once; False at the end."""
        if self._ended:
            return False
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        left = self.began + seconds - time.monotonic()
        if left <= 0 or not poll.poll(int(left * 1000) + 1):
            raise errors.Timeout(f"nothing was heard of it in {seconds:g} seconds: {self.last_words()}")
        heard = time.monotonic() - self.began
        data = os.read(self._out, 1 << 20)
        if not self._said and data:
            self._heard = heard
        self._said += data
        self._ended = not data
        return bool(data)

    def last_words(self) -> str:
        """The last line that was written to stderr since it began."""
        try:
            with open(self._log, "rb") as file:
                file.seek(self._log_from)
                lines = file.read()[-4000:].decode(errors="replace").strip().splitlines()
        except OSError:
            return "no reason was given"
        return lines[-1][:300] if lines else "no reason was given"

    def wait(self, seconds: float = 30.0) -> int:
        """Its exit code. Raises Timeout."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise errors.Timeout(f"{self.name} did not end within {seconds:g} seconds") from None

    def close(self) -> None:
        """The process in front is ended, if it has not, and reaped."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
