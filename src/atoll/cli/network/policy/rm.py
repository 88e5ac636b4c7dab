"""`atoll network policy rm`: policies between containers hold no longer."""

from __future__ import annotations

from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network policy rm",
    usage="network policy rm [OPTIONS] NETWORK/NAME [NETWORK/NAME...]",
    help="Remove policies between containers",
    flags=(Flag(name="force", short="f", help="One that is not there is fine"),),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import remove_each
    from atoll.cli.network.policy.inspect import split
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.netpolicies import remove

    engine = open_engine()
    return remove_each(given.args, lambda name: remove(engine, *split(name)), force=given.on("force"))
