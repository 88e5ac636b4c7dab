"""`atoll network rm`: remove networks that nobody runs on."""

from __future__ import annotations

from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network rm",
    usage="network rm [OPTIONS] NETWORK [NETWORK...]",
    help="Remove one or more networks",
    flags=(Flag(name="force", short="f", help="One that is not there is fine"),),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import remove_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.remove import remove

    engine = open_engine()
    return remove_each(given.args, lambda name: remove(engine, name), force=given.on("force"))
