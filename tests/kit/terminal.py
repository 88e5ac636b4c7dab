"""A terminal for `atoll run -it`: a pty whose other end a test types into and reads from.

Holds: `Terminal` (type, expect, resize, wait). Does not hold: any emulation.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time

from kit import processes
from kit.command import Atoll


class Terminal:
    """`atoll WORDS…` as the session leader of a new terminal; a context manager that leaves nothing running."""

    def __init__(self, atoll: Atoll, *words: str, rows: int = 24, columns: int = 80, **how: object) -> None:
        self.master, slave = os.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.seen = ""
        self._at = 0

        def control() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.child: subprocess.Popen[str] = atoll.popen(
            *words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            before=control,
            **how,  # type: ignore[arg-type]
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            processes.end(self.child.pid, signal.SIGKILL)
        self.child.wait(10)
        processes.KEEP.discard(self.child.pid)
        self.hang_up()

    def hang_up(self) -> None:
        """Close both ends, as when a window is closed: SIGHUP for the session's leader."""
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)
        self.master = self.slave = -1

    def resize(self, rows: int, columns: int) -> None:
        """TIOCSWINSZ; the kernel tells the foreground job by SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Send keys; a line ends with "\\r"."""
        os.write(self.master, text.encode())

    def line(self, text: str) -> None:
        """Send a line."""
        self.type(text + "\r")

    def expect(self, pattern: str, seconds: float = 15.0) -> re.Match[str]:
        """Read until the pattern is seen after what was matched last."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.compile(pattern).search(self.seen, self._at)
            if match:
                self._at = match.end()
                return match
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"{pattern!r} was not seen in {self.seen[self._at :]!r} (all: {self.seen!r})")

    def _read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], min(seconds, 0.2))[0]:
            # Nothing to read: over, if the command has ended.
            return self.child.poll() is None or bool(select.select([self.master], [], [], 0)[0])
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def wait(self, seconds: float = 15.0) -> int:
        """The command's exit code; reads meanwhile, so that it cannot block on its output."""
        deadline = time.monotonic() + seconds
        while self.child.poll() is None:
            assert time.monotonic() < deadline, f"still running after {seconds} s; seen: {self.seen!r}"
            self._read(0.1)
        while select.select([self.master], [], [], 0)[0] and self._read(0.1):
            pass
        return int(self.child.returncode)

    def restored(self) -> bool:
        """Whether the terminal's modes are as they were before."""
        return termios.tcgetattr(self.slave)[:6] == self.before[:6]
