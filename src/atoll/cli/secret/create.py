"""`atoll secret create`: keep a secret, read from a file or standard input."""

from __future__ import annotations

import os
import sys

from atoll.base import errors
from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="secret create",
    usage="secret create [OPTIONS] SECRET [FILE|-]",
    help="Create a secret from a file or standard input",
    flags=(
        Flag(name="driver", short="d", kind=TEXT, help="There is 'file', which encrypts"),
        Flag(name="env", help="FILE is the name of an environment variable that holds it"),
        Flag(name="label", short="l", kind=LIST, help="Set a label"),
        Flag(name="replace", help="Give a secret that is there another value"),
    ),
    least=1,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.volume.create import pairs
    from atoll.cli.wiring import open_engine
    from atoll.engine.secrets.manage import create

    if given.text("driver") not in (None, "file"):
        raise errors.NotFound(f'plugin "{given.text("driver")}" not found', hint="the driver here is 'file'")
    engine = open_engine()
    content = _content(given)
    made = create(engine, given.args[0], content, labels=pairs(given.texts("label")), replace=given.on("replace"))
    sys.stdout.write(made + "\n")
    return 0


def _content(given: Given) -> bytes:
    from atoll.engine.secrets.vault import MOST_BYTES

    place = given.args[1] if len(given.args) > 1 else "-"
    if given.on("env"):
        if place not in os.environ:
            raise errors.NotFound(f"the environment variable {place!r} is not set")
        return os.environb[place.encode()]
    try:
        if place == "-":
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with open(place, "rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise errors.from_os_error(error, "read the secret") from error
