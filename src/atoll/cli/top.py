"""`atoll top`: the processes of a container."""

from __future__ import annotations

import sys

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.engine.containers.top import Top

COMMAND = Command(
    name="top",
    usage="top CONTAINER [ps OPTIONS]",
    help="Show the processes of a container, with the columns that ps(1)'s options ask for",
    least=1,
    most=None,
    stops=True,
)
_WIDTH = 20


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.top import top

    show(top(open_engine(), given.args[0], tuple(given.args[1:])))
    return 0


def show(found: Top) -> None:
    """Write the processes in columns."""
    from atoll.cli.display import table

    sys.stdout.write(table(found.titles, found.rows, least=_WIDTH))
