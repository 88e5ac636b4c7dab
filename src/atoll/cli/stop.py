"""`atoll stop`: ask containers to end, and make them end when their time is over."""

from __future__ import annotations

import sys

from atoll.cli.options import Command
from atoll.cli.stopping import FLAGS, how, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="stop",
    usage="stop [OPTIONS] CONTAINER [CONTAINER...]",
    help="Stop one or more running containers: their stop signal, then SIGKILL",
    flags=FLAGS,
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.display import printable
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.stop import stop_all

    engine, code = open_engine(), 0
    signum, timeout = how(given)
    for name, error in stop_all(engine, given.args, timeout=timeout, signum=signum, warn=warn):
        if error is None:
            sys.stdout.write(name + "\n")
            sys.stdout.flush()
        else:
            sys.stderr.write(f"atoll: {printable(str(error))}\n")
            code = 1
    return code
