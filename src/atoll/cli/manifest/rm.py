"""`atoll manifest rm`: forget manifest lists."""

from __future__ import annotations

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="manifest rm",
    usage="manifest rm LIST [LIST...]",
    help="Forget one or more manifest lists made here",
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.manifests import remove

    engine = open_engine()
    return for_each(given.args, lambda name: remove(engine, name))
