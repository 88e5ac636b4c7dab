"""The jobs of the unpacking process that read trees instead of making them (`diff.py` asks for them).

Holds: `JOBS`. Does not hold: what they find (`diff.py`).
"""

from __future__ import annotations

import contextlib
import os
import resource

from atoll.base import files, jsontext
from atoll.base.value import fields
from atoll.snapshots import diff, merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO, Any

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def _opened(paths: Sequence[str]) -> Iterator[list[int]]:
    """The directories that a message names, open for the length of a job."""
    # Each level of a walk holds a directory of every layer that has it.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    fds: list[int] = []
    try:
        for path in paths:
            fds.append(os.open(path, _DIRECTORY))
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def _changes(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """The list goes to the file `fds[0]`: it may be longer than a message."""
    with _opened([message["upper"], *message["lower"]]) as (upper, *lower):
        _answer(fds[0], diff.changes(upper, lower, skip=frozenset(message["skip"])))
    return {"done": {}}


def _compare(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    with _opened(message["old"]) as old, _opened(message["new"]) as new:
        _answer(fds[0], merged.compare(old, new))
    return {"done": {}}


def _answer(fd: int, changes: list[diff.Change]) -> None:
    files.write_all(fd, jsontext.dumps([[one.kind, one.path] for one in changes]).encode())


def _layer(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    skip, latest = frozenset(message["skip"]), message["latest"]
    with _opened([message["upper"], *message["lower"]]) as (upper, *lower), _writer(fds[0]) as out:
        facts = diff.write_layer(upper, out.write, lower, skip=skip, latest=latest)
    return {"done": {name: getattr(facts, name) for name in fields(facts)}}


def _merged(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    with _opened(message["lower"]) as lower, _writer(fds[0]) as out:
        facts = merged.write_merged(lower, out.write, latest=message["latest"])
    return {"done": {name: getattr(facts, name) for name in fields(facts)}}


def _writer(fd: int) -> IO[bytes]:
    return os.fdopen(os.dup(fd), "wb", buffering=1 << 20)


JOBS: dict[str, Callable[[Any, dict[str, Any], list[int]], dict[str, Any]]] = {
    "changes": _changes,
    "compare": _compare,
    "layer": _layer,
    "merged": _merged,
}
