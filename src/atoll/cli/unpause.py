"""`atoll unpause`: let paused containers go on."""

from __future__ import annotations

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="unpause",
    usage="unpause CONTAINER [CONTAINER...]",
    help="Let one or more paused containers go on",
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.unpause import unpause

    engine = open_engine()

    def one(name: str) -> str:
        unpause(engine, name)
        return name

    return for_each(given.args, one)
