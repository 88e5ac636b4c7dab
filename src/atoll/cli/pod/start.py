"""`atoll pod start`: start all containers of pods."""

from __future__ import annotations

from atoll.cli.options import Command
from atoll.cli.pod.chosen import ALL, LATEST, each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pod start",
    usage="pod start [OPTIONS] POD [POD...]",
    help="Start all containers of one or more pods",
    flags=(ALL, LATEST),
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.start import start

    engine = open_engine()
    return each(engine, given, lambda name: start(engine, name))
