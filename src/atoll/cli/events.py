"""`atoll events`: what happens to containers, images, volumes and networks, as it happens."""

from __future__ import annotations

import sys
import time

from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given

COMMAND = Command(
    name="events",
    usage="events [OPTIONS]",
    help="Show what happens to containers, images, volumes and networks, as it happens",
    aliases=("system events",),
    flags=(
        Flag(
            name="filter", short="f", kind=LIST, what="filter", help="Only those for which it holds, e.g. event=die"
        ),
        Flag(name="format", kind=TEXT, help="json, or a Go template"),
        Flag(name="since", kind=TEXT, help="Also what has happened since: 2026-01-02T13:23:37Z, or 42m"),
        Flag(name="until", kind=TEXT, help="Go on until then"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.base import clock
    from atoll.cli.wiring import open_engine
    from atoll.engine.events.read import Query, read
    from atoll.engine.filters import split

    now = time.time_ns()
    since, until, style = given.text("since"), given.text("until"), given.text("format")
    query = Query(
        since=clock.since(since, now) if since else None,
        until=clock.since(until, now) if until else None,
        filters=tuple([(kind, one) for kind, values in split(given.texts("filter")).items() for one in values]),
    )
    try:
        for event in read(open_engine(), query):
            sys.stdout.write(_shown(event, style) + "\n")
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    return 0


def _shown(event: dict[str, Any], style: str | None) -> str:
    from atoll.base import jsontext
    from atoll.cli import display

    if style == "json":
        return jsontext.dumps(event)
    if style:
        from atoll.cli.template import render

        named = {"ID": event.get("id", ""), "Status": event.get("status", ""), "From": event.get("from", "")}
        return display.printable(
            render(
                style,
                {**event, **named, "Scope": event["scope"], "Time": event["time"], "TimeNano": event["timeNano"]},
            ),
            keep="\n\t",
        )
    seconds, part = divmod(event["timeNano"], 10**9)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", local) + f".{part:09d}"
    stamp += "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    actor = event["Actor"]
    said = ", ".join([f"{key}={actor['Attributes'][key]}" for key in sorted(actor["Attributes"])])
    line = f"{stamp} {event['Type']} {event['Action']} {actor['ID']}" + (f" ({said})" if said else "")
    return display.printable(line)
