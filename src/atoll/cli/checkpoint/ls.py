"""`atoll checkpoint ls`: the checkpoints of a container."""

from __future__ import annotations

import sys

from atoll.base import units
from atoll.cli import display
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="checkpoint ls",
    usage="checkpoint ls [OPTIONS] CONTAINER",
    help="List the checkpoints of a container",
    flags=(
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="quiet", short="q", help="Only the names"),
    ),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.checkpoints.store import list_checkpoints

    found = list_checkpoints(open_engine(), given.args[0])
    if given.on("quiet"):
        sys.stdout.write("".join([one.name + "\n" for one in found]))
        return 0
    rows = [
        {"Name": one.name, "Created": one.created, "Memory": one.memory, "Size": units.show_size(one.size, 4)}
        for one in found
    ]
    style = given.text("format")
    if style is None or style == "table":
        shown = [
            [one.name, one.created, "yes" if one.memory else "no", units.show_size(one.size, 4)] for one in found
        ]
        sys.stdout.write(display.table(["CHECKPOINT NAME", "CREATED", "MEMORY", "SIZE"], shown))
        return 0
    from atoll.cli.listing import formatted

    sys.stdout.write(formatted(style, rows, {}))
    return 0
