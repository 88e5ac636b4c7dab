"""`atoll network ls`: list networks, in Docker's columns."""

from __future__ import annotations

import sys

from atoll.base import ids
from atoll.cli import display
from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given

COMMAND = Command(
    name="network ls",
    usage="network ls [OPTIONS]",
    help="List networks",
    flags=(
        Flag(name="filter", short="f", kind=LIST, help="Only those for which it holds: driver=…, name=…, label=…"),
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="no-trunc", help="Do not cut IDs"),
        Flag(name="quiet", short="q", help="Only the IDs"),
    ),
)
HEADINGS = {"ID": "NETWORK ID", "CreatedAt": "CREATED AT"}


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.inspect import listed

    rows = [_fields(one, whole=given.on("no-trunc")) for one in listed(open_engine(), given.texts("filter"))]
    if given.on("quiet"):
        sys.stdout.write("".join([row["ID"] + "\n" for row in rows]))
        return 0
    columns = ("ID", "Name", "Driver", "Scope")
    sys.stdout.write(display.listed(given.text("format"), rows, columns, HEADINGS))
    return 0


def _fields(one: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    labels = one["Labels"]
    return {
        "CreatedAt": one["Created"],
        "Driver": one["Driver"],
        "ID": one["Id"] if whole else ids.short_id(one["Id"]),
        "IPv6": "true" if one["EnableIPv6"] else "false",
        "Internal": "true" if one["Internal"] else "false",
        "Label": lambda key: labels.get(key, ""),
        "Labels": ",".join([f"{key}={value}" for key, value in labels.items()]),
        "Name": one["Name"],
        "Scope": one["Scope"],
    }
