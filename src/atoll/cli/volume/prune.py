"""`atoll volume prune`: remove the volumes that no container uses."""

from __future__ import annotations

import sys

from atoll.base import units
from atoll.cli.options import LIST, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="volume prune",
    usage="volume prune [OPTIONS]",
    help="Remove the anonymous volumes that no container uses",
    flags=(
        Flag(name="all", short="a", help="Also those that have a name"),
        Flag(name="filter", kind=LIST, help="Only those for which it holds: label=KEY[=VALUE], label!=…, all=true"),
        Flag(name="force", short="f", help="Do not ask"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.confirm import confirmed
    from atoll.cli.wiring import open_engine
    from atoll.engine.volumes.remove import prune

    which = "all local volumes" if given.on("all") else "anonymous local volumes"
    if not given.on("force") and not confirmed(f"This will remove {which} not used by at least one container."):
        return 1
    pruned = prune(open_engine(), all=given.on("all"), filters=given.texts("filter"))
    if pruned.names:
        sys.stdout.write("Deleted Volumes:\n" + "".join([one + "\n" for one in pruned.names]) + "\n")
    sys.stdout.write(f"Total reclaimed space: {units.show_size(pruned.bytes, 4)}\n")
    return 0
