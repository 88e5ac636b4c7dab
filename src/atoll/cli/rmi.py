"""`atoll rmi`: remove images."""

from __future__ import annotations

from atoll.base import errors
from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="rmi",
    usage="rmi [OPTIONS] IMAGE [IMAGE...]",
    help="Remove one or more images",
    aliases=("image rm",),
    flags=(
        Flag(name="force", short="f", help="Also if ended containers use it; one that is not there is fine"),
        Flag(name="no-prune", help="As in Docker; parents are counted by reference here"),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine

    engine, force = open_engine(), given.on("force")

    def remove(name: str) -> str | None:
        try:
            return "\n".join(engine.remove_image(name, force=force)) or None
        except errors.NotFound:
            if not force:
                raise
            return None

    return for_each(given.args, remove)
