"""`atoll volume ls`: list volumes, in Docker's columns."""

from __future__ import annotations

import sys

from atoll.cli import display
from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.volumes.store import Volume

COMMAND = Command(
    name="volume ls",
    usage="volume ls [OPTIONS]",
    help="List volumes",
    flags=(
        Flag(
            name="filter", short="f", kind=LIST, help="Only those for which it holds: dangling=true, name=…, label=…"
        ),
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="quiet", short="q", help="Only the names"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.volumes.list import list_volumes

    found = list_volumes(open_engine(), given.texts("filter"))
    if given.on("quiet"):
        sys.stdout.write("".join([volume.name + "\n" for volume in found]))
        return 0
    rows = [fields(volume) for volume in found]
    sys.stdout.write(display.listed(given.text("format"), rows, ("Driver", "Name"), {"Name": "VOLUME NAME"}))
    return 0


def fields(volume: Volume) -> dict[str, Any]:
    """What a template may show of a volume."""
    labels = dict(volume.labels)
    return {
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Label": lambda key: labels.get(key, ""),
        "Labels": ",".join([f"{key}={value}" for key, value in volume.labels]),
        "Links": "N/A",
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    }
