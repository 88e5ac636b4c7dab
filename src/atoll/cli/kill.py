"""`atoll kill`: a signal to containers, SIGKILL unless told otherwise."""

from __future__ import annotations

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="kill",
    usage="kill [OPTIONS] CONTAINER [CONTAINER...]",
    help="Send a signal to one or more running containers",
    flags=(Flag(name="signal", short="s", kind=TEXT, help="Instead of SIGKILL"),),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.signal_names import signal_number
    from atoll.cli.wiring import open_engine

    signum = signal_number(given.text("signal") or "KILL")
    engine = open_engine()

    def kill(name: str) -> str:
        engine.kill(name, signum)
        return name

    return for_each(given.args, kill)
