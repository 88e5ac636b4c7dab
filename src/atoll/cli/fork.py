"""`atoll fork`: copies of a running container, which go on from the same state."""

from __future__ import annotations

import sys

from atoll.cli.options import LIST, NUMBER, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="fork",
    usage="fork [OPTIONS] CONTAINER",
    help="Make copies of a running container of the level 'vm', which go on from the same state.\n"
    "The container itself goes on, too. Each copy has a name, addresses, a host name and randomness of its own.",
    flags=(
        Flag(name="count", short="n", kind=NUMBER, what="int", help="How many copies"),
        Flag(name="name", kind=LIST, help="The name of a copy; once for each"),
        Flag(name="publish", short="p", kind=LIST, help="Publish a port of the copy"),
    ),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.checkpoints.fork import fork

    names, count = given.texts("name"), given.number("count")
    if count is None:
        count = len(names) or 1
    for one in fork(open_engine(), given.args[0], names=names, count=count, publish=given.texts("publish")):
        sys.stdout.write(one + "\n")
        sys.stdout.flush()
    return 0
