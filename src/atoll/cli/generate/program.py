"""The program that a unit is to run, and the places that it is to know."""

from __future__ import annotations

import os
import sys

from atoll.base import errors, launch
from atoll.spec.unit_text import quoted

_PLACES = ("ATOLL_CONFIG", "ATOLL_DATA_ROOT", "ATOLL_RUN_ROOT")


def program() -> str:
    """The path of the `atoll` command: beside this Python, in the source tree, or on PATH. Raises NotFound."""
    import shutil

    tree = os.path.dirname(launch.directory())
    for path in (f"{os.path.dirname(sys.executable)}/atoll", f"{tree}/bin/atoll"):
        if os.access(path, os.X_OK):
            return path
    found = shutil.which("atoll")
    if found is None:
        raise errors.NotFound("the atoll command is not on PATH, so that no unit could run it")
    return os.path.abspath(found)


def places() -> list[str]:
    """`KEY=VALUE` of the roots and settings, where they are not the usual ones."""
    return [f"{name}={os.environ[name]}" for name in _PLACES if os.environ.get(name)]


def environment(entries: list[str]) -> list[str]:
    """The lines `Environment=` of a unit; a percent sign in a value is one."""
    return [f"Environment={quoted(entry.replace('%', '%%'))}" for entry in entries]
