"""`atoll network connect`: put a container on one more network."""

from __future__ import annotations

from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network connect",
    usage="network connect [OPTIONS] NETWORK CONTAINER",
    help="Connect a container to a network",
    flags=(
        Flag(name="alias", kind=LIST, help="A further name for it on the network"),
        Flag(name="ip", kind=TEXT, help="Its IPv4 address there"),
        Flag(name="ip6", kind=TEXT, help="Its IPv6 address there"),
    ),
    least=2,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.connect import connect

    network, container = given.args
    connect(
        open_engine(),
        network,
        container,
        aliases=given.texts("alias"),
        address=given.text("ip"),
        address6=given.text("ip6"),
    )
    return 0
