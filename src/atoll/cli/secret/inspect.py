"""`atoll secret inspect`: all that is known of secrets, but for their content."""

from __future__ import annotations

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="secret inspect",
    usage="secret inspect [OPTIONS] SECRET [SECRET...]",
    help="Show what is known of one or more secrets, but never their content",
    flags=(Flag(name="format", short="f", kind=TEXT, help="json, or a Go template"),),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.inspecting import inspect_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.secrets.manage import inspect

    engine = open_engine()
    return inspect_each(given.args, lambda name: inspect(engine, name), given.text("format"))
