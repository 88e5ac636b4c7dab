"""Opens the engine for this process's user and environment."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def open_engine() -> Engine:
    """The engine of this user. Raises AtollError for settings or directories that cannot be used."""
    from atoll.engine.engine import Engine

    engine = Engine(os.environ, os.geteuid(), os.getegid(), door="atoll.cli.warm")
    engine.ask = _ask
    return engine


def _ask(question: str) -> str:
    """On the user's terminal, without an echo. Raises Denied where there is none."""
    import getpass

    from atoll.base import errors

    try:
        if not os.isatty(0):  # the terminal may not be the one of our session (`warm.py`)
            with open("/dev/tty", "r+b", buffering=0):
                pass
        return getpass.getpass(question)
    except (OSError, EOFError):
        raise errors.Denied("a passphrase is needed, and there is no terminal to ask on") from None
