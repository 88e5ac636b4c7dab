"""`atoll system check`: compare what is recorded with what is there, and mend it."""

from __future__ import annotations

import sys

from atoll.cli.display import printable
from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="system check",
    usage="system check [OPTIONS]",
    help="Check the store: rows, blobs, snapshots, run directories. Exit code 1 if something is wrong.",
    flags=(Flag(name="repair", help="Mend what is found"),),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine

    repair = given.on("repair")
    findings = open_engine().check(repair=repair)
    for finding in findings:
        sys.stdout.write(printable(finding) + "\n")
    if not findings:
        sys.stdout.write("nothing to repair\n")
    return 1 if findings and not repair else 0
