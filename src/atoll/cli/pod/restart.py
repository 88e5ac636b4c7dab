"""`atoll pod restart`: stop and start all containers of pods."""

from __future__ import annotations

from atoll.cli.options import NUMBER, Command, Flag
from atoll.cli.pod.chosen import ALL, LATEST, each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pod restart",
    usage="pod restart [OPTIONS] POD [POD...]",
    help="Stop and start all containers of one or more pods",
    flags=(
        ALL,
        LATEST,
        Flag(name="time", short="t", kind=NUMBER, what="int", help="Seconds to wait before SIGKILL; -1 for ever"),
    ),
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.start import restart

    engine, timeout = open_engine(), given.number("time")
    return each(engine, given, lambda name: restart(engine, name, timeout=timeout))
