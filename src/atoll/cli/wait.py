"""`atoll wait`: until containers end, or come to a state; prints their exit codes."""

from __future__ import annotations

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="wait",
    usage="wait [OPTIONS] CONTAINER [CONTAINER...]",
    help="Wait until one or more containers stop, then print their exit codes",
    flags=(
        Flag(
            name="condition",
            kind=TEXT,
            help="Instead of not-running: next-exit, removed; or running, paused, created (prints -1)",
        ),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.wait import NOT_RUNNING, wait

    engine, condition = open_engine(), given.text("condition") or NOT_RUNNING
    return for_each(given.args, lambda name: str(wait(engine, name, condition)))
