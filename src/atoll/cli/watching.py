"""The commands that look again each second (`stats`, `pod stats`): the screen, the pause, the end.

Holds: `watch`. Does not hold: what is looked at, and how it is shown.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from atoll.cli.options import Given

    V = TypeVar("V")

_SECONDS = 1.0
_HOME, _TO_END_OF_LINE, _TO_END = "\033[H", "\033[K", "\033[J"


def watch(given: Given, look: Callable[[], dict[str, V]], shown: Callable[[dict[str, V], dict[str, V]], str]) -> int:
    """Write what `shown` makes of two looks, the one before (at first nothing) and this one, until Ctrl-C (130); with
    `--no-stream` once, after the two looks that a share of the CPU needs. A terminal keeps one picture."""
    once = given.on("no-stream")
    clears = not once and sys.stdout.isatty() and given.text("format") != "json"
    before: dict[str, V] = {}
    try:
        if once:
            before = look()
            time.sleep(_SECONDS)
        while True:
            now = look()
            text = shown(before, now)
            if clears:
                text = _HOME + text.replace("\n", _TO_END_OF_LINE + "\n") + _TO_END
            sys.stdout.write(text)
            sys.stdout.flush()
            if once:
                return 0
            before = now
            time.sleep(_SECONDS)
    except KeyboardInterrupt:
        return 130
