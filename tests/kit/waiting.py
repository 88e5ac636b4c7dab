"""Waiting for what is to come, never for a time.

Holds: `until`, `said`. Does not hold: a container's states (`command.py:Atoll.wait_for`). How long is waited counts
only where it never comes, so that it may be long; `PATIENCE` is for hosts that are slower yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kit.command import PATIENCE

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 60.0, *, step: float = 0.02) -> T:
    """What `condition` gives once that is true; it is asked every `step` seconds."""
    deadline = time.monotonic() + seconds * PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"it did not come to that within {seconds:g} s"
        time.sleep(step)
    return value


def said(ask: Callable[[], str], wanted: str, seconds: float = 60.0) -> str:
    """What `ask` says, once `wanted` is in it."""
    deadline = time.monotonic() + seconds * PATIENCE
    while wanted not in (text := ask()):
        assert time.monotonic() < deadline, f"{wanted!r} is not in {text!r}"
        time.sleep(0.1)
    return text
