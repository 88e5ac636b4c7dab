"""`atoll network egress`: another egress policy for a container, while it runs."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network egress",
    usage="network egress [OPTIONS] CONTAINER [none|deny-private|allow=NAME|CIDR[:PORT],...]...",
    help="Change what a container may reach outside, or show what it was refused",
    flags=(
        Flag(name="log", help="Show what was refused, and why, as JSON lines"),
        Flag(name="open", help="No policy any more"),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.policy import change, refusals

    engine, (name, *words) = open_engine(), given.args
    if given.on("log"):
        sys.stdout.write(refusals(engine, name))
        return 0
    if bool(words) == given.on("open"):
        raise errors.InvalidArgument("give a policy, or --open for none", hint="e.g. allow=example.com,10.0.0.0/8")
    change(engine, name, tuple(words))
    return 0
