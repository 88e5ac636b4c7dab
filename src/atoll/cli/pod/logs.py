"""`atoll pod logs`: what the containers of a pod have written, and go on writing."""

from __future__ import annotations

import os
import time

from atoll.base import errors, files, ids
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pod logs",
    usage="pod logs [OPTIONS] POD",
    help="Show what the containers of a pod have written",
    flags=(
        Flag(name="container", short="c", kind=TEXT, help="Only this one of its containers"),
        Flag(name="follow", short="f", help="Go on until all of them end"),
        Flag(name="names", short="n", help="Begin each line with the container's name instead of its ID"),
        Flag(name="since", kind=TEXT, help="Only what is younger: 2026-01-02T13:23:37Z, or 42m"),
        Flag(name="tail", kind=TEXT, help="Only so many lines from the end of each", what="number"),
        Flag(name="timestamps", short="t", help="Show when each line was written"),
        Flag(name="until", kind=TEXT, help="Only what is older"),
    ),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.base import clock
    from atoll.cli.logs import tail_of
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.look import logs

    now, since, until = time.time_ns(), given.text("since"), given.text("until")
    lines = logs(
        open_engine(),
        given.args[0],
        only=given.text("container"),
        follow=given.on("follow"),
        since=clock.since(since, now) if since else None,
        until=clock.since(until, now) if until else None,
        tail=tail_of(given.text("tail")),
    )
    try:
        for row, entry in lines:
            head = "" if given.has("container") else f"{row.name if given.on('names') else ids.short_id(row.id)} "
            stamp = clock.rfc3339_fixed(entry.time_ns) + " " if given.on("timestamps") else ""
            files.write_all(2 if entry.stream == "stderr" else 1, (head + stamp).encode() + entry.data)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        raise errors.from_os_error(error, "write the log") from error
    return 0
