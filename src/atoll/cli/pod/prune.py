"""`atoll pod prune`: remove the pods that have ended."""

from __future__ import annotations

import sys

from atoll.cli.options import LIST, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pod prune",
    usage="pod prune [OPTIONS]",
    help="Remove all pods that have ended",
    flags=(
        Flag(name="filter", kind=LIST, help="Only those for which it holds, e.g. label=KEY, until=24h"),
        Flag(name="force", short="f", help="Do not ask"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.confirm import confirmed
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.prune import prune

    if not given.on("force") and not confirmed("This will remove all stopped/exited pods."):
        return 1
    sys.stdout.write("".join([pod + "\n" for pod in prune(open_engine(), given.texts("filter"))]))
    return 0
