"""What the commands about pods have in common: which pods are meant, and one verb for each of them.

Podman's exit codes: 125 when something went wrong with one.
"""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.cli.options import Given
    from atoll.engine.engine import Engine

FAILED = 125
ALL = Flag(name="all", short="a", help="All pods")
LATEST = Flag(name="latest", short="l", help="The pod made last")


def pods(engine: Engine, given: Given) -> list[str]:
    """The names given, or all pods, or the last one. Raises UsageError for none."""
    from atoll.engine.pods import rows

    if (given.on("all") or given.on("latest")) and given.args:
        raise UsageError("no arguments are needed with --all or --latest", given.command.name)
    if given.on("all"):
        return [row.id for row in rows.every(engine.store)]
    if given.on("latest"):
        found = rows.every(engine.store)
        if not found:
            raise errors.NotFound("there is no pod")
        return [found[0].id]
    if not given.args:
        raise UsageError(f"'atoll {given.command.name}' takes at least one name or ID", given.command.name)
    return given.args


def each(engine: Engine, given: Given, act: Callable[[str], str]) -> int:
    """Call `act` for each pod meant and print what it gives, the id."""
    return run(pods(engine, given), act)


def run(names: list[str], act: Callable[[str], str]) -> int:
    """The same for names."""
    from atoll.cli.display import printable

    code = 0
    for name in names:
        try:
            sys.stdout.write(act(name) + "\n")
        except errors.AtollError as error:
            sys.stdout.flush()
            sys.stderr.write(f"atoll: {printable(str(error))}\n")
            code = FAILED
        sys.stdout.flush()
    return code
