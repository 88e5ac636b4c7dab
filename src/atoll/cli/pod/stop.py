"""`atoll pod stop`: stop all containers of pods."""

from __future__ import annotations

from atoll.base import errors
from atoll.cli.options import NUMBER, Command, Flag
from atoll.cli.pod.chosen import ALL, LATEST, pods, run
from atoll.cli.stopping import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pod stop",
    usage="pod stop [OPTIONS] POD [POD...]",
    help="Stop all containers of one or more pods",
    flags=(
        ALL,
        Flag(name="ignore", short="i", help="One that is not there is fine"),
        LATEST,
        Flag(name="time", short="t", kind=NUMBER, what="int", help="Seconds to wait before SIGKILL; -1 for ever"),
        Flag(name="timeout", kind=NUMBER, what="int", help="The same", hidden=True),
    ),
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods import rows
    from atoll.engine.pods.stop import stop

    engine = open_engine()
    timeout = given.number("time") if given.has("time") else given.number("timeout")
    names = []
    for name in pods(engine, given):
        try:
            rows.find(engine, name)
        except errors.NotFound:
            if given.on("ignore"):
                continue
        names.append(name)
    return run(names, lambda name: stop(engine, name, timeout=timeout, warn=warn))
