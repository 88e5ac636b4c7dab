"""`atoll internal …`: what Atoll's own processes ask of the engine. Not for people; may change at any time."""

from __future__ import annotations

from atoll.cli.options import Command, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="internal",
    usage="internal cleanup CONTAINER",
    help="For Atoll's own processes: settle the records of a container that has ended",
    least=2,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine

    verb, name = given.args
    if verb != "cleanup":
        raise UsageError(f"unknown command: internal {verb}", "internal")
    open_engine().cleanup(name)
    return 0
