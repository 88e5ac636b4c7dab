"""A container's or session's streams on the user's own terminal, from the attachment to the end.

Holds: `Foreground`, what `run`, `start -a`, `attach` and `exec` share. Does not hold: copying (`streams.py`), raw
mode and detach keys themselves (`terminal.py`).
"""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.streams import Ending, SignalPipe, attend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.isolation.protocol import Attachment


class Foreground:
    """Made before there is something to attend, so that an interrupt in between is the program's already.

    `terminal`: the process has one; `stdin`: it gets our input, which does not end with ours if it `stays`; `keys`
    those that detach, parsed at once. Raises InvalidArgument for keys that cannot be, and where -t is asked for and
    our input is no terminal (`must`).
    """

    def __init__(
        self,
        *,
        terminal: bool,
        stdin: bool,
        keys: str,
        stays: bool = False,
        proxy: bool = True,
        must: bool = False,
        window: bool = True,
    ) -> None:
        self.terminal, self.stdin, self.stays = terminal, stdin, stays
        self._keys = b""
        if terminal:
            from atoll.cli import terminal as own

            if stdin and must and not own.is_terminal(0):
                raise errors.InvalidArgument(
                    "the input device is not a TTY", hint="leave out -t, or run from a terminal"
                )
            self._keys = own.parse_detach_keys(keys)
        self.arrived = SignalPipe(pass_on=proxy, window=terminal and window)

    def attend(
        self,
        attachment: Attachment,
        *,
        hidden: tuple[int, ...] = (),
        later: Callable[[], object] | None = None,
    ) -> Ending:
        """Copy until the end or until the user leaves, but for the streams `hidden`; the terminal is as before
        afterwards. `later` is called once it has gone on for a moment. Raises the error of a failed start."""
        keys = raw = None
        if self.terminal:
            from atoll.cli import terminal as own

            if self.stdin:
                keys = own.DetachKeys(self._keys)
            if own.is_terminal(0):
                raw = own.RawTerminal(0)
                raw.__enter__()
        try:
            return attend(
                attachment,
                self.arrived,
                stdin=self.stdin,
                stays=self.stays,
                keys=keys,
                raw=raw,
                hidden=hidden,
                later=later,
            )
        finally:
            if raw is not None:
                raw.restore()


def code_of(ending: Ending) -> int:
    """The exit code to pass on, and a word on standard error where there is something to say."""
    if ending.gone:
        return ending.code
    if ending.detached:
        sys.stderr.write("read escape sequence\n")
        return 0
    if ending.abandoned:
        sys.stderr.write("atoll: the container ignores signals; left it alone: 'atoll kill' ends it\n")
        return ending.code
    report = dict(ending.report or ())
    if report.get("oom"):
        sys.stderr.write("atoll: the container ran out of memory and was killed: raise --memory\n")
    elif report.get("error"):
        from atoll.cli.display import printable

        sys.stderr.write(f"atoll: {printable(str(report['error']))}\n")
    return ending.code
