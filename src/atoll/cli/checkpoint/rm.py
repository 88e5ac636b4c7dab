"""`atoll checkpoint rm`: remove a checkpoint of a container."""

from __future__ import annotations

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="checkpoint rm",
    usage="checkpoint rm CONTAINER CHECKPOINT",
    help="Remove a checkpoint of a container",
    least=2,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.checkpoints.store import remove

    remove(open_engine(), *given.args)
    return 0
