"""`atoll network prune`: remove the networks that no container belongs to."""

from __future__ import annotations

import sys

from atoll.cli.options import LIST, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network prune",
    usage="network prune [OPTIONS]",
    help="Remove all networks that no container belongs to",
    flags=(
        Flag(name="all", short="a", help="Also the bridge of the default network, and Atoll's tables, if unused"),
        Flag(name="filter", kind=LIST, help="Only those for which it holds: until=24h, label=KEY[=VALUE], label!=…"),
        Flag(name="force", short="f", help="Do not ask"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.confirm import confirmed
    from atoll.cli.wiring import open_engine
    from atoll.engine.filters import read_prune
    from atoll.engine.networks.remove import clear, prune

    filters = given.texts("filter")
    read_prune(filters)
    question = "This will remove all custom networks not used by at least one container."
    if not given.on("force") and not confirmed(question):
        return 1
    engine = open_engine()
    gone = prune(engine, filters)
    if given.on("all"):
        clear(engine)
    if gone:
        sys.stdout.write("Deleted Networks:\n" + "".join([one + "\n" for one in gone]) + "\n")
    return 0
