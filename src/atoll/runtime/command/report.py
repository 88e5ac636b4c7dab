"""How `atoll-runtime` speaks: the log in text or JSON, and errors in runc's form, which engines read.

Holds: `Log`. Source: runc(8); containerd and podman take the last JSON line of `--log` as the error's words.
"""

from __future__ import annotations

import os
import sys
import time

from atoll.base import errors, jsontext

TYPE_CHECKING = False


class Log:
    """Where messages go: `path` (None: standard error), in `text` or `json`."""

    def __init__(self, path: str | None = None, form: str = "text", *, debug: bool = False) -> None:
        if form not in ("text", "json"):
            raise errors.InvalidArgument(f'invalid log-format "{form}"')
        self.path, self.form, self.verbose = path, form, debug
        if path is not None:
            # The caller reads it whatever becomes of us, so that it is made even if nothing goes wrong.
            self._write(b"")

    def error(self, message: str) -> None:
        """An error that ends the command: to the log, and to standard error when the log is elsewhere."""
        self._line("error", message)
        if self.path is not None:
            self._to_stderr(message)

    def warning(self, message: str) -> None:
        """Something the caller should know that does not end the command."""
        self._line("warning", message)

    def debug(self, message: str) -> None:
        """A step, with `--debug` alone."""
        if self.verbose:
            self._line("debug", message)

    def _line(self, level: str, message: str) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.form == "json":
            line = jsontext.dumps({"level": level, "msg": message, "time": moment})
        else:
            line = f"time={_quoted(moment)} level={level} msg={_quoted(message)}"
        if self.path is None:
            self._to_stderr(line)
        else:
            self._write(f"{line}\n".encode())

    def _write(self, data: bytes) -> None:
        assert self.path is not None
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            fd = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise errors.from_os_error(error, "open the log") from error
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    @staticmethod
    def _to_stderr(line: str) -> None:
        if sys.stderr is not None:
            try:
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()
            except (OSError, ValueError):  # nobody listens
                pass


def _quoted(text: str) -> str:
    return jsontext.dumps([text])[1:-1]
