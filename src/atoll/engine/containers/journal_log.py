"""What journald keeps of a container's output, read back by journalctl.

Holds: `read`. Does not hold: writing to the journal (`monitor/log_journal.py`).

The journal's files are systemd's own, and the program that reads them is part of it: where it is not installed, or
may not see the entries, that is said in words.
"""

from __future__ import annotations

import os
import select

from atoll.base import clock, errors, jsontext
from atoll.monitor.log_reading import LINE_MAX, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLACES = ("/usr/bin/journalctl", "/bin/journalctl")
_LOOK_SECONDS = 0.5
_BLOCK = 1 << 16


def read(
    container_id: str,
    *,
    follow: bool,
    since: int | None,
    until: int | None,
    tail: int | None,
    running: Callable[[], bool],
    places: tuple[str, ...] = PLACES,
) -> Iterator[Entry]:
    """The entries of a container, oldest first. Raises Unsupported, Unavailable."""
    program = next((path for path in places if os.access(path, os.X_OK)), None)
    if program is None:
        raise errors.Unsupported(
            "this container's output is in the journal, and journalctl, which reads it, is not installed",
            hint="install systemd, or use the log driver json-file",
        )
    return _read(_argv(program, container_id, follow, since, until, tail), follow, since, until, running)


def _argv(
    program: str, container_id: str, follow: bool, since: int | None, until: int | None, tail: int | None
) -> list[str]:
    # --all: journalctl leaves out what is longer than 4 KiB otherwise.
    words = [program, "--quiet", "--all", "--no-pager", "--output=json"]
    if tail is not None:
        words.append(f"--lines={tail}")  # the last of all; with --since it would be the first of those
    elif follow:
        words.append("--no-tail")
    if since is not None and tail is None:
        words.append(f"--since=@{since / 1e9:.6f}")
    if until is not None and tail is None and not follow:
        words.append(f"--until=@{until / 1e9:.6f}")
    return [*words, *(["--follow"] if follow else []), f"CONTAINER_ID_FULL={container_id}"]


def _read(
    argv: list[str], follow: bool, since: int | None, until: int | None, running: Callable[[], bool]
) -> Iterator[Entry]:
    import subprocess

    child = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"LC_ALL": "C"}
    )
    assert child.stdout is not None
    try:
        for line in _lines(child.stdout.fileno(), running if follow else None):
            entry = _entry(line)
            if entry is None or (since is not None and entry.time_ns < since):
                continue
            if until is not None and entry.time_ns > until:
                return
            yield entry
        if not follow and child.wait() != 0:
            assert child.stderr is not None
            said = child.stderr.read(4096).decode(errors="replace").strip()
            raise errors.Unavailable(f"journalctl could not read the journal: {said or child.returncode}")
    finally:
        child.kill()
        child.communicate()


def _lines(fd: int, running: Callable[[], bool] | None) -> Iterator[bytes]:
    """Lines as they come; to the end of file, or with `running` until that is over and nothing comes any more."""
    rest = b""
    while True:
        over = running is not None and not running()
        if running is not None and not select.select([fd], [], [], _LOOK_SECONDS)[0]:
            if over:
                return
            continue
        block = os.read(fd, _BLOCK)
        if not block:
            return
        *lines, rest = (rest + block).split(b"\n")
        rest = rest if len(rest) <= 16 * LINE_MAX else b""
        yield from lines


def _entry(line: bytes) -> Entry | None:
    """One object of journalctl's; a field that is no UTF-8 is an array of bytes there, one that is missing null."""
    try:
        found = jsontext.loads(line)
        message = found["MESSAGE"]
        data = bytes(message) if isinstance(message, list) else (message or "").encode("utf-8", "surrogatepass")
        stream = "stderr" if found.get("PRIORITY") == "3" else "stdout"
        at = clock.rfc3339(int(found["__REALTIME_TIMESTAMP"]) * 1000)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return Entry((stream, at, data if found.get("CONTAINER_PARTIAL_MESSAGE") == "true" else data + b"\n"))
