"""`atoll pod exists`: 0 if there is such a pod, else 1; says nothing."""

from __future__ import annotations

from atoll.base import errors
from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pod exists",
    usage="pod exists POD",
    help="Tell by the exit code whether there is such a pod",
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods import rows

    try:
        rows.find(open_engine(), given.args[0])
    except errors.NotFound:
        return 1
    return 0
