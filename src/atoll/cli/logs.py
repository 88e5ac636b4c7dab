"""`atoll logs`: what a container has written, and goes on writing."""

from __future__ import annotations

import os
import time

from atoll.base import errors, files
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from atoll.cli.options import Given
    from atoll.engine.engine import Engine
    from atoll.monitor.log_reading import Entry

COMMAND = Command(
    name="logs",
    usage="logs [OPTIONS] CONTAINER",
    help="Show what a container has written",
    flags=(
        Flag(name="details", help="Show the labels and variables that the log driver was told to keep"),
        Flag(name="follow", short="f", help="Go on until the container ends"),
        Flag(name="since", kind=TEXT, help="Only what is younger: 2026-01-02T13:23:37Z, or 42m"),
        Flag(name="tail", short="n", kind=TEXT, help="Only so many lines from the end", what="number"),
        Flag(name="timestamps", short="t", help="Show when each line was written"),
        Flag(name="until", kind=TEXT, help="Only what is older"),
    ),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.base import clock
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.logs import entries as entries_of
    from atoll.engine.containers.logs import output

    now = time.time_ns()
    since, until = given.text("since"), given.text("until")
    tail = tail_of(given.text("tail"))
    engine = open_engine()
    stamps, details = given.on("timestamps"), _details(engine, given)
    plain = not (given.on("follow") or since or until or stamps or details)
    if plain:
        return _pour(output(engine, given.args[0], tail=tail))
    entries = entries_of(
        engine,
        given.args[0],
        follow=given.on("follow"),
        since=clock.since(since, now) if since else None,
        until=clock.since(until, now) if until else None,
        tail=tail,
    )
    return _pour(_lines(entries, details, stamps=stamps))


def _lines(entries: Iterable[Entry], details: bytes, *, stamps: bool) -> Iterator[tuple[str, bytes]]:
    from atoll.base import clock

    for entry in entries:
        data = details + entry.data if details else entry.data
        if stamps:
            data = clock.rfc3339_fixed(entry.time_ns).encode() + b" " + data
        yield entry.stream, data


def _pour(pieces: Iterator[tuple[str, bytes]]) -> int:
    """All of them, as fast as it goes: 130 after Ctrl-C, 141 when nobody reads any more."""
    try:
        for stream, data in pieces:
            files.write_all(2 if stream == "stderr" else 1, data)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    return 0


def _details(engine: Engine, given: Given) -> bytes:
    """What `--details` puts before each line: the attributes, which may be none, and a space."""
    if not given.on("details"):
        return b""
    from atoll.engine.containers.logs import attributes

    return ",".join([f"{key}={value}" for key, value in attributes(engine, given.args[0])]).encode() + b" "


def tail_of(text: str | None) -> int | None:
    """The number of `--tail`; None for all. Raises InvalidArgument."""
    if text is None or text == "all":
        return None
    if text.isascii() and text.removeprefix("-").isdecimal():
        return int(text) if int(text) >= 0 else None  # as Docker: all
    raise errors.InvalidArgument(f"invalid value {text!r} for --tail", hint="a number of lines, or all")
