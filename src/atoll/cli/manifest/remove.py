"""`atoll manifest remove`: take one entry out of a manifest list."""

from __future__ import annotations

import sys

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="manifest remove",
    usage="manifest remove LIST MANIFEST",
    help="Take an entry out of a manifest list",
    least=2,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.manifests import remove_entry

    sys.stdout.write(remove_entry(open_engine(), given.args[0], given.args[1]) + "\n")
    return 0
