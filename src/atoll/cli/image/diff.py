"""`atoll image diff`: what an image's last layer changes, or what differs between two images."""

from __future__ import annotations

import sys

from atoll.cli.display import printable
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="image diff",
    usage="image diff [OPTIONS] IMAGE [IMAGE]",
    help="Show what an image's last layer changes, or what differs from the first image to the second",
    flags=(Flag(name="format", kind=TEXT, help="json"),),
    least=1,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.base import jsontext
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.diff import diff

    changes = diff(open_engine(), *given.args)
    if given.text("format") == "json":
        kinds = {"A": "added", "C": "changed", "D": "deleted"}
        found: dict[str, list[str]] = {}
        for one in changes:
            found.setdefault(kinds[one.kind], []).append(one.path)
        sys.stdout.write(jsontext.dumps(found) + "\n")
        return 0
    sys.stdout.write("".join([f"{one.kind} {printable(one.path)}\n" for one in changes]))
    return 0
