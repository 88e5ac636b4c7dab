"""`atoll create`: make a container, and leave its start to `atoll start`."""

from __future__ import annotations

import sys

from atoll.cli.container_flags import FLAGS, RARE, read
from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="create",
    usage="create [OPTIONS] IMAGE [COMMAND] [ARG...]",
    help="Create a new container, without starting it",
    flags=FLAGS,
    rare=RARE,
    least=1,
    most=None,
    stops=True,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.run import check_image, make
    from atoll.cli.wiring import open_engine

    request = read(given, starts_later=True)
    check_image(request.image)
    sys.stdout.write(make(open_engine(), request, given) + "\n")
    return 0
