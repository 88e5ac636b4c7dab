"""`atoll system prune`: remove what is not used."""

from __future__ import annotations

import sys

from atoll.base import units
from atoll.cli.options import LIST, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="system prune",
    usage="system prune [OPTIONS]",
    help="Remove unused data",
    flags=(
        Flag(name="all", short="a", help="All unused images, not only those without a name"),
        Flag(name="filter", kind=LIST, help="Only those for which it holds: until=24h, label=KEY[=VALUE], label!=…"),
        Flag(name="force", short="f", help="Do not ask"),
        Flag(name="volumes", help="Anonymous volumes too"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.confirm import confirmed
    from atoll.cli.wiring import open_engine
    from atoll.engine.system.prune import check_filters, prune

    every, volumes, filters = given.on("all"), given.on("volumes"), given.texts("filter")
    check_filters(filters)
    if not given.on("force") and not confirmed(_warning(every=every, volumes=volumes, filters=filters)):
        return 1
    pruned = prune(open_engine(), every=every, volumes=volumes, filters=filters)
    images = tuple([one[:1].lower() + one[1:] for one in pruned.images])
    for title, names in (("Containers", pruned.containers), ("Volumes", pruned.volumes), ("Images", images)):
        if names:
            sys.stdout.write(f"Deleted {title}:\n" + "".join([one + "\n" for one in names]) + "\n")
    sys.stdout.write(f"Total reclaimed space: {units.show_size(pruned.reclaimed, 4)}\n")
    return 0


def _warning(*, every: bool, volumes: bool, filters: tuple[str, ...]) -> str:
    lines = ["all stopped containers"]
    if volumes:
        lines.append("all anonymous volumes not used by at least one container")
    lines.append("all images without at least one container associated to them" if every else "all dangling images")
    lines.append("blobs whose download broke off")
    lines.append("what virtual machines were made of before")
    said = "This will remove:\n" + "".join([f"  - {one}\n" for one in lines])
    if filters:
        said += "\n  Items to be pruned will be filtered with:\n" + "".join([f"  - {one}\n" for one in filters])
    return said
