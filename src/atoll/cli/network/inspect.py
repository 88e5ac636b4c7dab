"""`atoll network inspect`: all that is known of networks."""

from __future__ import annotations

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network inspect",
    usage="network inspect [OPTIONS] NETWORK [NETWORK...]",
    help="Show all that is known of one or more networks, and who is on them",
    flags=(
        Flag(name="format", short="f", kind=TEXT, help="json, or a Go template"),
        Flag(name="verbose", short="v", help="As in Docker; nothing is left out here", hidden=True),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.inspecting import inspect_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.inspect import inspect

    engine = open_engine()
    return inspect_each(given.args, lambda name: inspect(engine, name), given.text("format"))
