"""`atoll image bundle`: an image as an OCI bundle."""

from __future__ import annotations

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="image bundle",
    usage="image bundle IMAGE DIRECTORY",
    help="Unpack an image into an OCI bundle, which runc and other runtimes run",
    least=2,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.bundle import bundle

    bundle(open_engine(), given.args[0], given.args[1])
    return 0
