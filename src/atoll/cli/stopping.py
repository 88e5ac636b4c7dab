"""What the commands that stop containers (`stop`, `restart`) are told alike: by which signal, how long to wait.

Holds: `FLAGS`, `how`, `warn`. Does not hold: stopping (`engine/containers/stop.py`).
"""

from __future__ import annotations

import sys

from atoll.cli.options import NUMBER, TEXT, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

FLAGS = (
    Flag(name="signal", short="s", kind=TEXT, help="Instead of the container's stop signal"),
    Flag(name="time", short="t", kind=NUMBER, what="int", help="Seconds to wait before SIGKILL; -1 for ever"),
    Flag(name="timeout", kind=NUMBER, what="int", help="The same", hidden=True),
)


def how(given: Given) -> tuple[int | None, int | None]:
    """(signal, seconds), None for the container's own. Raises InvalidArgument for a signal that is none."""
    signum, text = None, given.text("signal")
    if text:
        from atoll.cli.signal_names import signal_number

        signum = signal_number(text)
    return signum, given.number("time") if given.has("time") else given.number("timeout")


def warn(text: str) -> None:
    """Say what may take long, or will not go as it should."""
    sys.stderr.write(f"WARNING: {text}\n")
