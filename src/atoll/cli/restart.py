"""`atoll restart`: stop containers and start them again."""

from __future__ import annotations

from atoll.cli.options import Command
from atoll.cli.stopping import FLAGS, how, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="restart",
    usage="restart [OPTIONS] CONTAINER [CONTAINER...]",
    help="Stop one or more containers and start them again",
    flags=FLAGS,
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.restart import restart

    engine = open_engine()
    signum, timeout = how(given)

    def one(name: str) -> str:
        restart(engine, name, timeout=timeout, signum=signum, warn=warn)
        return name

    return for_each(given.args, one)
