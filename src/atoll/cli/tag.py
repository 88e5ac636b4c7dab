"""`atoll tag`: one more name for an image."""

from __future__ import annotations

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="tag",
    usage="tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    help="Give an image one more name",
    aliases=("image tag",),
    least=2,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.tag import tag

    tag(open_engine(), given.args[0], given.args[1])
    return 0
