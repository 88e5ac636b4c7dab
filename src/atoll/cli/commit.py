"""`atoll commit`: an image of what a container is now."""

from __future__ import annotations

import sys

from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="commit",
    usage="commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    help="Make an image of what a container is now",
    flags=(
        Flag(name="author", short="a", kind=TEXT, help="Who made it, e.g. 'Ada <ada@example.com>'"),
        Flag(name="change", short="c", kind=LIST, help="A Dockerfile instruction for the image, e.g. 'CMD [\"sh\"]'"),
        Flag(name="message", short="m", kind=TEXT, help="What it is for"),
        Flag(name="no-pause", help="Let the container run meanwhile"),
        Flag(name="pause", short="p", help="Let the container stand still meanwhile (on, but with --pause=false)"),
    ),
    least=1,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.commit import Asked, commit

    pause = given.on("pause") if given.has("pause") else None
    asked = Asked(
        name=given.args[1] if len(given.args) > 1 else None,
        author=given.text("author") or "",
        message=given.text("message") or "",
        changes=given.texts("change"),
        pause=False if given.on("no-pause") else pause,
    )
    sys.stdout.write(commit(open_engine(), given.args[0], asked) + "\n")
    return 0
