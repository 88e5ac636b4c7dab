"""`atoll pod pause`: let all containers of pods stand still."""

from __future__ import annotations

from atoll.cli.options import Command
from atoll.cli.pod.chosen import ALL, LATEST, each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pod pause",
    usage="pod pause [OPTIONS] POD [POD...]",
    help="Let all containers of one or more pods stand still",
    flags=(ALL, LATEST),
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.pause import pause

    engine = open_engine()
    return each(engine, given, lambda name: pause(engine, name))
