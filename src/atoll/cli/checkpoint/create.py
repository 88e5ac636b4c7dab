"""`atoll checkpoint create`: save a running container under a name."""

from __future__ import annotations

import sys

from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="checkpoint create",
    usage="checkpoint create [OPTIONS] CONTAINER CHECKPOINT",
    help="Save a running container of the level 'vm', with its memory, under a name",
    flags=(
        Flag(name="leave-running", help="Let the container go on"),
        Flag(name="memory", help="With its memory (on, but with --memory=false: a restore starts it anew)"),
    ),
    least=2,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.checkpoints.save import save

    container, name = given.args
    memory = given.on("memory") if given.has("memory") else True
    save(open_engine(), container, name=name, leave_running=given.on("leave-running"), memory=memory)
    sys.stdout.write(name + "\n")
    return 0
