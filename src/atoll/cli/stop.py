"""`atoll stop`: ask containers to end, and make them end when their time is over."""

from __future__ import annotations

import sys

from atoll.cli.options import NUMBER, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="stop",
    usage="stop [OPTIONS] CONTAINER [CONTAINER...]",
    help="Stop one or more running containers: their stop signal, then SIGKILL",
    flags=(
        Flag(name="signal", short="s", kind=TEXT, help="Instead of the container's stop signal"),
        Flag(name="time", short="t", kind=NUMBER, what="int", help="Seconds to wait before SIGKILL; -1 for ever"),
        Flag(name="timeout", kind=NUMBER, what="int", help="The same", hidden=True),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.display import printable
    from atoll.cli.signal_names import signal_number
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.stop import stop_all

    engine, text, code = open_engine(), given.text("signal"), 0
    signum = signal_number(text) if text else None
    timeout = given.number("time") if given.has("time") else given.number("timeout")
    for name, error in stop_all(engine, given.args, timeout=timeout, signum=signum, warn=_warn):
        if error is None:
            sys.stdout.write(name + "\n")
            sys.stdout.flush()
        else:
            sys.stderr.write(f"atoll: {printable(str(error))}\n")
            code = 1
    return code


def _warn(text: str) -> None:
    sys.stderr.write(f"WARNING: {text}\n")
