"""`atoll container prune`: remove the containers that do not run."""

from __future__ import annotations

import sys

from atoll.base import units
from atoll.cli.options import LIST, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="container prune",
    usage="container prune [OPTIONS]",
    help="Remove all containers that do not run",
    flags=(
        Flag(name="filter", kind=LIST, help="Only those for which it holds: until=24h, label=KEY[=VALUE], label!=…"),
        Flag(name="force", short="f", help="Do not ask"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.confirm import confirmed
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.prune import prune
    from atoll.engine.filters import read_prune

    filters = given.texts("filter")
    read_prune(filters)
    if not given.on("force") and not confirmed("This will remove all stopped containers."):
        return 1
    pruned = prune(open_engine(), filters)
    if pruned.ids:
        sys.stdout.write("Deleted Containers:\n" + "".join([one + "\n" for one in pruned.ids]) + "\n")
    sys.stdout.write(f"Total reclaimed space: {units.show_size(pruned.reclaimed, 4)}\n")
    return 0
