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
        Flag(name="all", short="a", help="Also the bridge of the default network, and Atoll's tables, if unused"),
        Flag(name="filter", kind=LIST, help="Only those for which it holds: label=KEY[=VALUE], label!=…"),
        Flag(name="force", short="f", help="Do not ask"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.confirm import confirmed
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.remove import clear, prune

    keeps = [_keep(one) for one in given.texts("filter")]
    question = "This will remove all custom networks not used by at least one container."
    if not given.on("force") and not confirmed(question):
        return 1
    engine = open_engine()
    gone = prune(engine, lambda row: any(keep(row) for keep in keeps))
    if given.on("all"):
        clear(engine)
    if gone:
        sys.stdout.write("Deleted Networks:\n" + "".join([one + "\n" for one in gone]) + "\n")
    return 0


def _keep(given: str) -> Callable[[NetworkRow], bool]:
    """Whether a network is spared by one filter. Raises InvalidArgument."""
    for head, there in (("label!=", False), ("label=", True)):
        if given.startswith(head):
            return _spared(given.removeprefix(head), there)
    raise errors.InvalidArgument(f"invalid filter {given!r}", hint="known are label and label!")


def _spared(label: str, there: bool) -> Callable[[NetworkRow], bool]:
    key, equals, value = label.partition("=")

    def keep(row: NetworkRow) -> bool:
        labels = dict(row.network.labels)
        return (key in labels and (not equals or labels[key] == value)) != there

    return keep
