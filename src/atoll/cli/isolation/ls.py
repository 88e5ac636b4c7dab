"""`atoll isolation ls`: which levels of isolation this host has, and why it lacks the others."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="isolation ls",
    usage="isolation ls [OPTIONS]",
    help="List the levels of isolation, and why one cannot be had",
    flags=(Flag(name="format", kind=TEXT, help="json, table, or a Go template"),),
)


def main(given: Given) -> int:
    """Run the command."""
    import os

    from atoll.cli import display
    from atoll.engine.paths import locate
    from atoll.isolation.external import ls

    rows = [
        {"Name": one.name, "Program": one.program, "Available": "yes" if one.ok else "no", "Reason": one.reason or ""}
        for one in ls(locate(os.environ, os.geteuid()).data)
    ]
    columns = ("Name", "Available", "Program", "Reason")
    sys.stdout.write(display.listed(given.text("format"), rows, columns, {}))
    return 0
