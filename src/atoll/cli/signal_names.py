"""Signals as users write them."""

from __future__ import annotations

from atoll.base import errors
from atoll.linux import signals


def signal_number(text: str) -> int:
    """The number of `9`, `KILL`, `SIGKILL` or `RTMIN+1`. Raises InvalidArgument."""
    try:
        return signals.number_of(text)
    except ValueError:
        raise errors.InvalidArgument(f"invalid signal: {text}", hint="a name such as SIGTERM, or 1 to 64") from None
