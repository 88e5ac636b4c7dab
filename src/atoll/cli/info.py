"""`atoll info`: what this host and this installation can do, truthfully."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="info",
    usage="info [OPTIONS]",
    help="Tell what this host and this installation can do",
    flags=(Flag(name="format", short="f", kind=TEXT, help="json, or a Go template"),),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.display import printable
    from atoll.cli.document import outline, show
    from atoll.cli.wiring import open_engine

    document = open_engine().info()
    style = given.text("format")
    if style is not None:
        sys.stdout.write(show(document, style))
        return 0
    warnings = document.pop("Warnings", None) or []
    sys.stdout.write("".join([printable(line) + "\n" for line in outline(document)]))
    sys.stderr.write("".join([f"WARNING: {printable(line)}\n" for line in warnings]))
    return 0
