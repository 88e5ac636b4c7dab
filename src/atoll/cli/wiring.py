"""Opens the engine for this process's user and environment."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def open_engine() -> Engine:
    """The engine of this user. Raises AtollError for settings or directories that cannot be used."""
    from atoll.engine.engine import Engine

    return Engine(os.environ, os.geteuid(), os.getegid())
