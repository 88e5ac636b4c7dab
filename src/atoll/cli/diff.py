"""`atoll diff`: what a container changed of its image's files."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="diff",
    usage="diff [OPTIONS] CONTAINER",
    help="Show what a container changed of its image's files: A added, C changed, D deleted",
    flags=(Flag(name="format", kind=TEXT, help="json, or a Go template of .Kind and .Path"),),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.display import printable
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.diff import diff

    changes = diff(open_engine(), given.args[0])
    style = given.text("format")
    if style is None:
        sys.stdout.write("".join([f"{one.kind} {printable(one.path)}\n" for one in changes]))
        return 0
    from atoll.cli.listing import formatted

    sys.stdout.write(formatted(style, [{"Kind": one.kind, "Path": one.path} for one in changes], {}))
    return 0
