"""`atoll network gc`: CNI plug-ins give back what they hold for nobody."""

from __future__ import annotations

from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network gc",
    usage="network gc cni:NETWORK [cni:NETWORK...]",
    help="Have CNI plug-ins give back what containers hold that are not there; those of other engines lose theirs",
    flags=(Flag(name="force", short="f", help="A network that is not there is fine"),),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import remove_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.cni import collect

    engine = open_engine()
    return remove_each(given.args, lambda name: collect(engine, name), force=given.on("force"))
