"""Reading the journal: from a point in time, up to one, filtered, and as it grows.

Holds: `Query`, `read`. Does not hold: how events are shown (`cli/events.py`), the journal's bounds
(`monitor/journal.py`).
"""

from __future__ import annotations

import os
import time

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.engine.filters import has_labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from atoll.engine.engine import Engine

KEYS = (
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "pod",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
)
_OF_TYPE = ("config", "daemon", "network", "node", "plugin", "pod", "secret", "service", "volume")
_BLOCK = 1 << 18


class Query(Value):
    """Which events: `since` and `until` in nanoseconds since the epoch; `filters` are (key, value) as in Docker: one
    of the values of each key must hold, of `label` all."""

    since: int | None = None
    until: int | None = None
    filters: tuple[tuple[str, str], ...] = ()

    def check(self) -> None:
        """Raises InvalidArgument for a key that no event has."""
        for key, _ in self.filters:
            if key not in KEYS:
                raise errors.InvalidArgument(f"invalid filter '{key}'", hint="known are " + ", ".join(KEYS))

    def wants(self, event: dict[str, Any]) -> bool:
        """Whether an event passes all filters."""
        labels = [value for key, value in self.filters if key == "label"]
        if not has_labels(_attributes(event).items(), {"label": labels}):
            return False
        keys = {key for key, _ in self.filters if key != "label"}
        return all(any(_holds(event, key, value) for k, value in self.filters if k == key) for key in keys)


def _attributes(event: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = event["Actor"]["Attributes"]
    return found


def _holds(event: dict[str, Any], key: str, value: str) -> bool:
    kind, action, actor = event["Type"], event["Action"], event["Actor"]["ID"]
    if key == "type":
        return bool(kind == value)
    if key == "event":
        # `exec_create` stands for `exec_create: sh -c …`, `health_status` for `health_status: healthy`.
        return bool(action == value or action.partition(":")[0] == value)
    if key == "scope":
        return bool(event.get("scope") == value)
    if key == "container":
        return kind == "container" and (_attributes(event).get("name") == value or actor.startswith(value))
    if key == "image":
        names = (actor, _attributes(event).get("name" if kind == "image" else "image", ""))
        return kind in ("image", "container") and any(name and _same_image(name, value) for name in names)
    return key in _OF_TYPE and kind == key and (actor.startswith(value) or _attributes(event).get("name") == value)


def _same_image(name: str, wanted: str) -> bool:
    tail = name.rpartition("/")[2]
    return name == wanted or (":" in tail and name.rpartition(":")[0] == wanted)


def read(engine: Engine, query: Query) -> Iterator[dict[str, Any]]:
    """The events asked for, oldest first; without `until`, or with one to come, it goes on as they happen.

    Without `since` only what happens from now on. Raises InvalidArgument at once, OSError.
    """
    query.check()
    return _events(engine.paths.events, query, time.time_ns())


def _events(path: str, query: Query, now: int) -> Iterator[dict[str, Any]]:
    since = now if query.since is None else query.since
    for line in _lines(path, query.until):
        event = _parse(line)
        if event is None or event["timeNano"] < since:
            continue
        if query.until is not None and event["timeNano"] > query.until:
            continue  # several writers: one that is older may still follow
        if query.wants(event):
            yield event


def _parse(line: bytes) -> dict[str, Any] | None:
    """An event; None for a line that a loss of power cut, or that is none."""
    try:
        event = jsontext.loads(line)
        whole = isinstance(event["timeNano"], int) and isinstance(_attributes(event), dict)
        whole = whole and all(isinstance(event[key], str) for key in ("Type", "Action"))
        return event if whole and isinstance(event["Actor"]["ID"], str) else None
    except (ValueError, KeyError, TypeError):
        return None


def _lines(path: str, until: int | None) -> Iterator[bytes]:
    """All lines of all files, oldest file first, and then as they come until `until` has passed."""
    from atoll.linux.inotify import Watch

    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    watch = Watch(os.path.dirname(path))  # before the first look, so that nothing falls between
    opened: list[_Tail] = []
    try:
        while True:
            over = until is not None and time.time_ns() > until
            _open_new(path, opened)
            for tail in opened:
                yield from tail.lines()
            if over:
                return
            # A file that has been followed by two others gets no more lines: its writers had it open for moments.
            while len(opened) > 2 and opened[0].is_behind(path):
                opened.pop(0).close()
            watch.wait(None if until is None else (until - time.time_ns()) / 10**9 + 0.001)
    finally:
        watch.close()
        for tail in opened:
            tail.close()


class _Tail:
    """One file of the journal, read as far as it goes."""

    def __init__(self, fd: int) -> None:
        self.fd, self._rest = fd, b""
        found = os.fstat(fd)
        self.identity = (found.st_dev, found.st_ino)

    def lines(self) -> Iterator[bytes]:
        while block := os.read(self.fd, _BLOCK):
            lines = (self._rest + block).split(b"\n")
            self._rest = lines.pop()
            yield from lines

    def is_behind(self, path: str) -> bool:
        """Whether two newer files are there."""
        newest = {_identity(path), _identity(f"{path}.1")}
        return self.identity not in newest

    def close(self) -> None:
        os.close(self.fd)


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _open_new(path: str, opened: list[_Tail]) -> None:
    """Open what is there and not open yet, newest first as rotation moves files away from there; oldest first."""
    from atoll.monitor.journal import FILES

    known = {tail.identity for tail in opened}
    found: list[_Tail] = []
    for number in range(FILES + 1):
        try:
            fd = os.open(f"{path}.{number}" if number else path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        tail = _Tail(fd)
        if tail.identity in known:
            tail.close()
            if opened and number:  # what is older than one that we read is not news
                break
        else:
            known.add(tail.identity)
            found.append(tail)
    opened += found[::-1]
