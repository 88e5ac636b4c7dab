"""`atoll history`: the steps that an image was made of, in Docker's columns."""

from __future__ import annotations

import sys
import time

from atoll.base import clock, ids, units
from atoll.cli import display
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.images.history import Step

COMMAND = Command(
    name="history",
    usage="history [OPTIONS] IMAGE",
    help="Show the steps that an image was made of",
    aliases=("image history",),
    flags=(
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="human", short="H", help="Sizes and times for people (the default; --human=false for machines)"),
        Flag(name="no-trunc", help="Do not cut anything"),
        Flag(name="quiet", short="q", help="Only the IDs"),
    ),
    least=1,
    most=1,
)
HEADINGS = {"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY"}


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.history import history

    steps = history(open_engine(), given.args[0])
    whole, human = given.on("no-trunc"), not given.has("human") or given.on("human")
    rows = [_fields(step, time.time_ns(), whole=whole, human=human) for step in steps]
    if given.on("quiet"):
        sys.stdout.write("".join([row["ID"] + "\n" for row in rows]))
        return 0
    columns = ("ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment")
    sys.stdout.write(display.listed(given.text("format"), rows, columns, HEADINGS))
    return 0


def _fields(step: Step, now: int, *, whole: bool, human: bool) -> dict[str, Any]:
    shown = "<missing>" if step.id is None else step.id if whole else ids.short_id(step.id)
    by = " ".join(step.created_by.split())
    return {
        "ID": shown,
        "CreatedSince": display.ago(step.created, now) or "N/A",
        "CreatedAt": clock.local(clock.parse(step.created)) if step.created and human else step.created or "N/A",
        "CreatedBy": by if whole else display.shortened(by, 45),
        "Size": units.show_size(step.size) if human else str(step.size),
        "Comment": step.comment,
        "Tags": ", ".join(step.tags),
    }
