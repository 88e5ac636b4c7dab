"""`atoll network prune`: remove the networks that no container belongs to."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import LIST, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.cli.options import Given
    from atoll.engine.networks.rows import NetworkRow

COMMAND = Command(
    name="network prune",
    usage="network prune [OPTIONS]",
    help="Remove all networks that no container belongs to",
    flags=(
        Flag(name="filter", kind=LIST, help="Only those for which it holds: label=KEY[=VALUE], label!=…"),
        Flag(name="force", short="f", help="Do not ask"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.confirm import confirmed
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.remove import prune

    keeps = [_keep(one) for one in given.texts("filter")]
    question = "This will remove all custom networks not used by at least one container."
    if not given.on("force") and not confirmed(question):
        return 1
    gone = prune(open_engine(), lambda row: any(keep(row) for keep in keeps))
    if gone:
        sys.stdout.write("Deleted Networks:\n" + "".join([one + "\n" for one in gone]) + "\n")
    return 0


def _keep(given: str) -> Callable[[NetworkRow], bool]:
    """Whether a network is spared by one filter. Raises InvalidArgument."""
    for head, wanted_there in (("label!=", False), ("label=", True)):
        if given.startswith(head):
            key, equals, value = given.removeprefix(head).partition("=")

            def keep(row: NetworkRow, wanted_there: bool = wanted_there) -> bool:
                labels = dict(row.network.labels)
                return (key in labels and (not equals or labels[key] == value)) != wanted_there

            return keep
    raise errors.InvalidArgument(f"invalid filter {given!r}", hint="known are label and label!")
