"""The journal of events: one file that every process of Atoll appends to, in the shapes of Docker's events.

Holds: `message`, `append`, `note` (for monitors), the bounds. Does not hold: reading (`engine/events/`).

    <path>  <path>.1  <path>.2 …      newest first, each about FILE_MAX bytes, FILES in all; one JSON object a line

A line is appended by one write(2) with O_APPEND, which the kernel keeps whole among many writers, without lock and
without fsync: a loss of power may take the last lines or leave half a one, which the reader passes over. Whoever
finds the file full renames it, under a flock(2) on the file itself; one that has it still open writes into the older
one. What cannot be written (a full disk) is lost and costs no container anything.
"""

from __future__ import annotations

import fcntl
import os
import time

from atoll.base import files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.monitor.requests import EventPlan

FILE_MAX = 4 << 20
FILES = 4
NAME_FILE = "name"
"""In a bundle: the container's name, once it was renamed; a monitor knows only the one that it began with."""


def message(
    kind: str, action: str, actor: str, attributes: dict[str, str], now_ns: int | None = None
) -> dict[str, Any]:
    """One event as Docker's API has it. `kind` is container, image, volume, network …; times are now unless given."""
    now = time.time_ns() if now_ns is None else now_ns
    found: dict[str, Any] = {}
    if kind == "container":
        found = {"status": action, "id": actor, "from": attributes.get("image", "")}
    elif kind == "image":
        found = {"status": action, "id": actor}
    found.update(
        Type=kind,
        Action=action,
        Actor={"ID": actor, "Attributes": attributes},
        scope="local",
        time=now // 10**9,
        timeNano=now,
    )
    return found


def append(path: str, event: dict[str, Any]) -> None:
    """Write one event down. Raises OSError."""
    line = (jsontext.dumps(event) + "\n").encode()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        fd = os.open(path, flags, 0o600)
    try:
        if os.write(fd, line) < len(line):  # a full disk took a part of it; the next line must not grow on that
            os.write(fd, b"\n")
        if os.lseek(fd, 0, os.SEEK_CUR) > FILE_MAX:
            _rotate(path, fd)
    finally:
        os.close(fd)


def _rotate(path: str, fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino != os.fstat(fd).st_ino:
            return
    except OSError:  # somebody else is at it, or has done it
        return
    for number in range(FILES - 1, 0, -1):
        try:
            os.rename(path if number == 1 else f"{path}.{number - 1}", f"{path}.{number}")
        except FileNotFoundError:
            continue


def note(plan: EventPlan | None, action: str, **more: str) -> None:
    """A monitor's event of its container; nothing without a plan. Never raises: events are not worth a container."""
    if plan is None:
        return
    attributes = {**dict(plan.attributes), **more}
    try:
        attributes["name"] = files.read_text(f"{plan.bundle}/{NAME_FILE}")
    except (OSError, ValueError):
        pass
    try:
        append(plan.path, message("container", action, plan.id, attributes))
    except OSError:
        pass
