"""`atoll restart`: stop containers and start them again."""

from __future__ import annotations

import sys

from atoll.cli.options import NUMBER, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="restart",
    usage="restart [OPTIONS] CONTAINER [CONTAINER...]",
    help="Stop one or more containers and start them again",
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
    from atoll.cli.each import for_each
    from atoll.cli.signal_names import signal_number
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.restart import restart

    engine, text = open_engine(), given.text("signal")
    signum = signal_number(text) if text else None
    timeout = given.number("time") if given.has("time") else given.number("timeout")

    def one(name: str) -> str:
        restart(engine, name, timeout=timeout, signum=signum, warn=_warn)
        return name

    return for_each(given.args, one)


def _warn(text: str) -> None:
    sys.stderr.write(f"WARNING: {text}\n")
