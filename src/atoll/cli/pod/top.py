"""`atoll pod top`: the processes of all containers of a pod."""

from __future__ import annotations

import sys

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pod top",
    usage="pod top POD [ps OPTIONS]",
    help="Show the processes of a pod, with the columns that ps(1)'s options ask for",
    least=1,
    most=None,
    stops=True,
)
_WIDTH = 20


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.display import table
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.look import top

    shown = top(open_engine(), given.args[0], tuple(given.args[1:]))
    sys.stdout.write(table(shown.titles, shown.rows, least=_WIDTH))
    return 0
