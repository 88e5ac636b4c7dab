"""`atoll pause`: let containers stand still."""

from __future__ import annotations

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pause",
    usage="pause CONTAINER [CONTAINER...]",
    help="Let all processes of one or more containers stand still",
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.pause import pause

    engine = open_engine()

    def one(name: str) -> str:
        pause(engine, name)
        return name

    return for_each(given.args, one)
