"""`atoll volume inspect`: all that is known of volumes."""

from __future__ import annotations

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="volume inspect",
    usage="volume inspect [OPTIONS] VOLUME [VOLUME...]",
    help="Show all that is known of one or more volumes",
    flags=(Flag(name="format", short="f", kind=TEXT, help="json, or a Go template"),),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.inspecting import inspect_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.volumes.list import inspect

    engine = open_engine()
    return inspect_each(given.args, lambda name: inspect(engine, name), given.text("format"))
