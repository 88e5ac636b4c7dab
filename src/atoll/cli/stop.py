"""`atoll stop`: ask containers to end, and make them end when their time is over."""

from __future__ import annotations

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
    from atoll.cli.each import for_each
    from atoll.cli.signal_names import signal_number
    from atoll.cli.wiring import open_engine

    engine = open_engine()
    text = given.text("signal")
    signum = signal_number(text) if text else None
    timeout = given.number("time") if given.has("time") else given.number("timeout")

    def stop(name: str) -> str:
        engine.stop(name, timeout=timeout, signum=signum)
        return name

    return for_each(given.args, stop)
