"""`atoll pod top`: the processes of all containers of a pod."""

from __future__ import annotations

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


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.top import show
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.look import top

    show(top(open_engine(), given.args[0], tuple(given.args[1:])))
    return 0
