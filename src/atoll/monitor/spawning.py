"""The end of every fork of Atoll's long-lived processes.

Holds: `in_fork`. Does not hold: forking.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def in_fork(life: Callable[[], int | None]) -> NoReturn:
    """Run a fork's life and end the process with the status it returns (0 for None), or 1 with the fault written to
    standard error (the faults file)."""
    code = 1
    try:
        code = life() or 0
    except BaseException as fault:  # noqa: BLE001 - one of the three edges: nothing may return into the parent's code
        sys.__excepthook__(type(fault), fault, fault.__traceback__)
    finally:
        os._exit(code)
