"""`atoll rename`: another name for a container."""

from __future__ import annotations

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="rename",
    usage="rename CONTAINER NEW_NAME",
    help="Give a container another name",
    least=2,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.rename import rename

    rename(open_engine(), *given.args)
    return 0
