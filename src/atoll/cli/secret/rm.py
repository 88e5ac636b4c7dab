"""`atoll secret rm`: forget secrets."""

from __future__ import annotations

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="secret rm",
    usage="secret rm SECRET [SECRET...]",
    help="Remove one or more secrets; containers that run keep what they got",
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.secrets.manage import remove

    engine = open_engine()
    return for_each(given.args, lambda name: remove(engine, name))
