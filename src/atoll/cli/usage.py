"""`atoll usage`: what containers have used since they were made."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.usage.report import Line

COMMAND = Command(
    name="usage",
    usage="usage [OPTIONS] [CONTAINER...]",
    help="Show what containers have used since they were made: CPU, memory over time, disk and network",
    flags=(
        Flag(name="by-label", kind=TEXT, what="key", help="One line for each value of a label"),
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="no-trunc", help="Do not cut IDs"),
    ),
    most=None,
)
_HEADINGS = {
    "ID": "CONTAINER ID",
    "CPUSeconds": "CPU SECONDS",
    "GiBSeconds": "GIB SECONDS",
    "BlockIO": "BLOCK I/O",
    "NetIO": "NET I/O",
    "Seconds": "UP SECONDS",
}


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli import display
    from atoll.cli.wiring import open_engine
    from atoll.engine.usage.report import report

    label = given.text("by-label")
    rows = [_fields(line, whole=given.on("no-trunc")) for line in report(open_engine(), given.args, label=label)]
    columns: tuple[str, ...] = ("Name", "CPUSeconds", "GiBSeconds", "BlockIO", "NetIO", "Seconds")
    columns = ("ID", *columns) if label is None else columns
    headings = {**_HEADINGS, "Name": (label or "name").upper()}
    sys.stdout.write(display.listed(given.text("format"), rows, columns, headings))
    return 0


def _fields(line: Line, *, whole: bool) -> dict[str, Any]:
    from atoll.base import ids, units

    used = line.used
    return {
        "ID": line.id if whole else ids.short_id(line.id),
        "Name": line.name,
        "CPUSeconds": f"{used.cpu_ns / 1e9:.3f}",
        "GiBSeconds": f"{used.byte_seconds / (1 << 30):.3f}",
        "BlockIO": f"{units.show_size(used.bytes_read)} / {units.show_size(used.bytes_written)}",
        "NetIO": f"{units.show_size(used.received)} / {units.show_size(used.sent)}",
        "Seconds": str(used.seconds),
        "Raw": used.to_json(),
    }
