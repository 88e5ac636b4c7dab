"""`atoll audit limits`: whether the limits in force are those that were asked for."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="audit limits",
    usage="audit limits [OPTIONS]",
    help="Compare the limits that the kernel enforces on running containers with those asked for.\n"
    "The exit code is 1 if something is not as asked for and was not put right.",
    flags=(
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="repair", help="Write again what was rewritten, move back what was moved out"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli import display
    from atoll.cli.wiring import open_engine
    from atoll.engine.audit.limits import audit

    found = audit(open_engine(), repair=given.on("repair"))
    rows = [
        {
            "ID": one.container[:12],
            "Name": one.name,
            "Limit": one.limit,
            "Finding": one.what,
            "Repaired": "yes" if one.repaired else "no",
        }
        for one in found
    ]
    if rows:
        columns = ("ID", "Name", "Limit", "Repaired", "Finding")
        sys.stdout.write(display.listed(given.text("format"), rows, columns, {"ID": "CONTAINER ID"}))
    return 0 if all(one.repaired for one in found) else 1
