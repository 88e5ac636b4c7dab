"""`atoll pod kill`: a signal to the first process of every container of pods."""

from __future__ import annotations

from atoll.cli.options import TEXT, Command, Flag
from atoll.cli.pod.chosen import ALL, LATEST, each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pod kill",
    usage="pod kill [OPTIONS] POD [POD...]",
    help="Send a signal to the containers of one or more pods",
    flags=(ALL, LATEST, Flag(name="signal", short="s", kind=TEXT, help="Which signal; KILL without")),
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.signal_names import signal_number
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.stop import kill

    signum = signal_number(given.text("signal") or "KILL")
    engine = open_engine()
    return each(engine, given, lambda name: kill(engine, name, signum))
