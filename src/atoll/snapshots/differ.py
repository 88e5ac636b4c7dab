"""The jobs of the unpacking process that read trees instead of making them (`diff.py` asks for them).

Holds: `JOBS`. Does not hold: what they find (`diff.py`).
"""

from __future__ import annotations

import os
import resource

from atoll.base import files, jsontext
from atoll.base.value import fields
from atoll.snapshots import diff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class _Opened:
    """The directories that a message names, open for the length of a job."""

    def __init__(self, message: dict[str, Any]) -> None:
        # Each level of the walk holds a directory of every layer that has it.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.upper = os.open(message["upper"], _DIRECTORY)
        self.lower: list[int] = []
        try:
            self.lower += [os.open(path, _DIRECTORY) for path in message["lower"]]
        except BaseException:
            self.close()
            raise
        self.skip = frozenset(message["skip"])

    def close(self) -> None:
        for fd in (self.upper, *self.lower):
            os.close(fd)


def _changes(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """The list goes to the file `fds[0]`: it may be longer than a message."""
    opened = _Opened(message)
    try:
        found = diff.changes(opened.upper, opened.lower, skip=opened.skip)
    finally:
        opened.close()
    files.write_all(fds[0], jsontext.dumps([[one.kind, one.path] for one in found]).encode())
    return {"done": {}}


def _layer(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    opened = _Opened(message)
    try:
        with os.fdopen(os.dup(fds[0]), "wb", buffering=1 << 20) as out:
            facts = diff.write_layer(
                opened.upper, out.write, opened.lower, skip=opened.skip, latest=message["latest"]
            )
    finally:
        opened.close()
    return {"done": {name: getattr(facts, name) for name in fields(facts)}}


JOBS: dict[str, Callable[[Any, dict[str, Any], list[int]], dict[str, Any]]] = {"changes": _changes, "layer": _layer}
