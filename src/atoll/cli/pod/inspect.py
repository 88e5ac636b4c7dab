"""`atoll pod inspect`: all that is known of pods."""

from __future__ import annotations

from atoll.cli.options import TEXT, Command, Flag
from atoll.cli.pod.chosen import FAILED, LATEST, pods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pod inspect",
    usage="pod inspect [OPTIONS] POD [POD...]",
    help="Show all that is known of one or more pods",
    flags=(Flag(name="format", short="f", kind=TEXT, help="json, or a Go template"), LATEST),
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.inspecting import inspect_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.inspect import inspect

    engine = open_engine()
    code = inspect_each(pods(engine, given), lambda name: inspect(engine, name), given.text("format"))
    return FAILED if code else 0
