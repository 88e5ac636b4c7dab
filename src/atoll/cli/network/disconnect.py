"""`atoll network disconnect`: take a container off a network."""

from __future__ import annotations

from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network disconnect",
    usage="network disconnect [OPTIONS] NETWORK CONTAINER",
    help="Disconnect a container from a network",
    flags=(Flag(name="force", short="f", help="One that is not on it is fine"),),
    least=2,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.connect import disconnect

    disconnect(open_engine(), given.args[0], given.args[1], force=given.on("force"))
    return 0
