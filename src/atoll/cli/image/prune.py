"""`atoll image prune`: remove images that nothing needs."""

from __future__ import annotations

import sys

from atoll.base import units
from atoll.cli.options import LIST, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="image prune",
    usage="image prune [OPTIONS]",
    help="Remove unused images",
    flags=(
        Flag(name="all", short="a", help="All that no container uses, not only those without a name"),
        Flag(name="filter", kind=LIST, help="Only those for which it holds: until=24h, label=KEY[=VALUE], label!=…"),
        Flag(name="force", short="f", help="Do not ask"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.confirm import confirmed
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.prune import check_filters, prune

    every = given.on("all")
    check_filters(given.texts("filter"))
    what = "all images without at least one container associated to them" if every else "all dangling images"
    if not given.on("force") and not confirmed(f"This will remove {what}."):
        return 1
    pruned = prune(open_engine(), every=every, filters=given.texts("filter"))
    if pruned.lines:
        sys.stdout.write("Deleted Images:\n" + "".join([_lower(one) + "\n" for one in pruned.lines]) + "\n")
    sys.stdout.write(f"Total reclaimed space: {units.show_size(pruned.reclaimed, 4)}\n")
    return 0


def _lower(line: str) -> str:
    """`untagged: …`: Docker writes it small here and large in `rmi`."""
    return line[:1].lower() + line[1:]
