"""The beginning and the end of the forks of Atoll's long-lived processes.

Holds: `fork_patiently`, `in_fork`, and `spawn_aside` for a command that nobody waits for.
"""

from __future__ import annotations

import os
import sys
import time

from atoll.linux.signals import SIGKILL, SIGSTOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


SHORT_SECONDS = 0.05
"""How long one waits for what the system is short of."""


def fork_patiently(seconds: float) -> int:
    """fork(2), tried again for so long while there are too many processes or too little memory. Raises OSError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return os.fork()
        except OSError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(SHORT_SECONDS)


def spawn_aside(argv: tuple[str, ...], env: tuple[str, ...]) -> None:
    """Start a command of ours (none if `argv` is empty) in a caller's environment; nobody waits for it. One that
    cannot be started is left to the next `atoll` that looks."""
    if not argv:
        return
    defaults = [number for number in range(1, 32) if number not in (SIGKILL, SIGSTOP)]
    try:
        os.posix_spawn(argv[0], argv, dict(e.split("=", 1) for e in env if "=" in e), setsigdef=defaults, setsid=True)
    except OSError:
        pass


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
