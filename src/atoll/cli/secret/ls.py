"""`atoll secret ls`: list secrets, never their content."""

from __future__ import annotations

import sys
import time

from atoll.base import clock, units
from atoll.cli import display
from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="secret ls",
    usage="secret ls [OPTIONS]",
    help="List secrets",
    flags=(
        Flag(name="filter", short="f", kind=LIST, help="Only those for which it holds: name=…, id=…, label=…"),
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="quiet", short="q", help="Only the IDs"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.secrets.manage import list_secrets

    found = list_secrets(open_engine(), given.texts("filter"))
    if given.on("quiet"):
        sys.stdout.write("".join([secret.id + "\n" for secret in found]))
        return 0
    rows = [
        {
            "ID": secret.id,
            "Name": secret.name,
            "Driver": "file",
            "CreatedAt": _ago(secret.created_at),
            "UpdatedAt": _ago(secret.updated_at),
            "Labels": ",".join([f"{key}={value}" for key, value in secret.labels]),
        }
        for secret in found
    ]
    columns = ("ID", "Name", "Driver", "CreatedAt", "UpdatedAt")
    headings = {"CreatedAt": "CREATED", "UpdatedAt": "UPDATED"}
    sys.stdout.write(display.listed(given.text("format"), rows, columns, headings))
    return 0


def _ago(moment: str) -> str:
    return units.show_span((time.time_ns() - clock.parse(moment)) / 1e9) + " ago"
