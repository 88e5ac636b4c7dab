"""`atoll system df`: what takes the space, in Docker's columns."""

from __future__ import annotations

import sys
import time

from atoll.base import ids, units
from atoll.cli import display
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.system.df import Kind, Space

COMMAND = Command(
    name="system df",
    usage="system df [OPTIONS]",
    help="Show what takes the space under the data root",
    flags=(
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="verbose", short="v", help="Each image, container and volume"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.system.df import df

    space = df(open_engine())
    if given.on("verbose"):
        sys.stdout.write(_verbose(space))
        return 0
    rows = [_fields(kind) for kind in space.kinds]
    columns = ("Type", "TotalCount", "Active", "Size", "Reclaimable")
    sys.stdout.write(display.listed(given.text("format"), rows, columns, {"TotalCount": "TOTAL"}))
    return 0


def _fields(kind: Kind) -> dict[str, Any]:
    reclaimable = units.show_size(kind.reclaimable, 4)
    if kind.size and kind.name != "Build Cache":
        reclaimable += f" ({100 * kind.reclaimable // kind.size}%)"
    return {
        "Type": kind.name,
        "TotalCount": str(kind.count),
        "Active": str(kind.active),
        "Size": units.show_size(kind.size, 4),
        "Reclaimable": reclaimable,
    }


def _verbose(space: Space) -> str:
    now = time.time_ns()
    size = units.show_size
    parts = ["Images space usage:\n\n"]
    parts.append(
        display.table(
            ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"],
            [
                [
                    one.repository or "<none>",
                    one.tag or "<none>",
                    ids.short_id(one.id),
                    display.ago(one.created, now) or "N/A",
                    size(one.size),
                    size(one.shared),
                    size(one.unique),
                    str(one.containers),
                ]
                for one in space.images
            ],
        )
    )
    parts.append("\nContainers space usage:\n\n")
    parts.append(
        display.table(
            ["CONTAINER ID", "IMAGE", "SIZE", "CREATED", "STATUS", "NAMES"],
            [
                [
                    one.id[:12],
                    one.image,
                    size(one.size),
                    units.show_span((now - one.created_ns) / 1e9) + " ago",
                    one.state,
                    one.name,
                ]
                for one in space.containers
            ],
        )
    )
    parts.append("\nLocal Volumes space usage:\n\n")
    rows = [[one.name, str(one.links), size(one.size)] for one in space.volumes]
    parts.append(display.table(["VOLUME NAME", "LINKS", "SIZE"], rows))
    parts.append("\nThe rest of the data root:\n\n")
    rest = [[one.name, size(one.size)] for one in space.kinds[3:]]
    parts.append(display.table(["TYPE", "SIZE"], [*rest, ["All together", size(space.total)]]))
    parts.append(f"\nStorage driver: {space.driver}\n")
    if space.budget:
        parts.append(f"Images may take: {size(space.budget)}\n")
    return "".join(parts)
