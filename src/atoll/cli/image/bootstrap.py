"""`atoll image bootstrap`: a distribution's image made from its packages."""

from __future__ import annotations

import os
import sys

from atoll.base import errors
from atoll.cli.display import printable
from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="image bootstrap",
    usage="image bootstrap [OPTIONS] DISTRIBUTION:SUITE",
    help="Make an image from a distribution's packages, e.g. debian:bookworm (mmdebstrap or debootstrap)",
    flags=(
        Flag(name="include", kind=LIST, help="One more package"),
        Flag(name="mirror", kind=TEXT, help="Where the packages are"),
        Flag(name="quiet", short="q", help="Only print the ID"),
        Flag(name="tag", short="t", kind=TEXT, help="The image's name (DISTRIBUTION:SUITE)"),
        Flag(name="variant", kind=TEXT, help="As the tool has them: minbase (the default), buildd, …"),
    ),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.bootstrap import Recipe, bootstrap, parse

    distribution, suite = parse(given.args[0])
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not epoch.isdecimal():
        raise errors.InvalidArgument(f"SOURCE_DATE_EPOCH is {epoch!r}, not a number of seconds")
    recipe = Recipe(
        distribution=distribution,
        suite=suite,
        variant=given.text("variant") or "minbase",
        include=given.texts("include"),
        mirror=given.text("mirror"),
        epoch=int(epoch),
    )

    def tell(line: str) -> None:
        if not given.on("quiet"):
            sys.stderr.write(printable(line) + "\n")

    image_id = bootstrap(open_engine(), recipe, given.text("tag") or f"{distribution}:{suite}", tell=tell)
    sys.stdout.write(image_id + "\n")
    return 0
