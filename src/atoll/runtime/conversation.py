"""The creator's side of `sync.py`'s conversation: what it hears until the new process is ready, and what it does.

Holds: `go`, `await_ready`, `await_program`, `Heard`; both for create and for exec. Does not hold: the init's side
(`init.py`), what travels (`sync.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors, jsontext, timing
from atoll.runtime import sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from atoll.base.rollback import Rollback
    from atoll.runtime.plan import Created

_KILLED = "it was killed: a memory or pids limit too small for it to start with?"


class Heard:
    """What the new process said before it was ready: the terminal's master if it has one, and warnings."""

    def __init__(self) -> None:
        self.console: int | None = None
        self.warnings: list[str] = []


def go(ours: socket, word: str) -> None:
    """Let the init go on. Raises OSError; the init's own error if it has ended, which says more than EPIPE."""
    try:
        sync.send(ours, {"go": word})
    except BrokenPipeError:
        sync.expect(ours, "at", "ready")
        raise


def await_ready(
    ours: socket, undo: Rollback, *, listener: Callable[[int], None], hooks: Callable[[], None] | None = None
) -> Heard:
    """Listen until the process is ready. `listener` takes a seccomp notify descriptor, which is closed after; `hooks`
    runs those of the creator (P4), after which the init is let go on. Raises the init's error, Internal."""
    heard = Heard()
    while True:
        message, fd = sync.receive(ours)
        if message is None:
            raise errors.Internal("the process ended before it was ready", hint=_KILLED)
        at = message.get("at")
        if at == "console" and fd is not None:
            heard.console = fd
            undo.push(os.close, fd)
        elif at == "listener" and fd is not None:
            try:
                listener(fd)
            finally:
                os.close(fd)
        elif at == "hooks" and hooks is not None:
            hooks()
            go(ours, "hooked")
        elif at == "warning":
            heard.warnings.append(str(message.get("text")))
        elif at == "ready":
            timing.mark("await init")
            timing.put("init", message.get("steps"))
            return heard
        else:
            raise errors.Internal(f"out of step: {message!r}")


def await_program(created: Created) -> None:
    """Wait until the program of a created and started container was executed. Raises the init's error."""
    data = os.read(created.sync, sync.LIMIT)
    if data:
        raise errors.from_json(jsontext.loads(data).get("error"))
