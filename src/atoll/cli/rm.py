"""`atoll rm`: remove containers with all that is theirs."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="rm",
    usage="rm [OPTIONS] CONTAINER [CONTAINER...]",
    help="Remove one or more containers",
    flags=(
        Flag(name="force", short="f", help="Kill it first if it runs; one that is not there is fine"),
        Flag(name="link", short="l", help="A link between containers, not the container: there are none in Atoll"),
        Flag(name="volumes", short="v", help="Also its anonymous volumes"),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.display import printable
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine

    if given.on("link"):
        raise errors.Unsupported(
            "cannot remove a link: Atoll has no links between containers",
            hint="containers of one network know one another by name; 'atoll network disconnect' parts them",
        )
    engine, force = open_engine(), given.on("force")

    def remove(name: str) -> str | None:
        try:
            engine.remove(name, force=force, volumes=given.on("volumes"))
        except errors.NotFound:
            if not force:
                raise
            sys.stderr.write(f"No such container: {printable(name)}\n")
            return None
        return name

    return for_each(given.args, remove)
