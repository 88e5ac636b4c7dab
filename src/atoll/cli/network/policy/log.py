"""`atoll network policy log`: what policies refused a container, or others who came to it."""

from __future__ import annotations

import sys

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network policy log",
    usage="network policy log CONTAINER",
    help="Show what a container's policies refused, and why, as JSON lines",
    flags=(),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.policy import refusals

    sys.stdout.write(refusals(open_engine(), given.args[0]))
    return 0
