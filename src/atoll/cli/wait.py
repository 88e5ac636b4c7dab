"""`atoll wait`: until containers end; prints their exit codes."""

from __future__ import annotations

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="wait",
    usage="wait CONTAINER [CONTAINER...]",
    help="Wait until one or more containers stop, then print their exit codes",
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine

    engine = open_engine()
    return for_each(given.args, lambda name: str(engine.wait(name)))
