"""`atoll save`: images into an archive."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="save",
    usage="save [OPTIONS] IMAGE [IMAGE...]",
    help="Write one or more images to an archive",
    aliases=("image save",),
    flags=(
        Flag(name="output", short="o", kind=TEXT, help="To a file, instead of standard output"),
        Flag(name="format", kind=TEXT, help="docker-archive (the default), oci-archive or oci-dir"),
        Flag(name="multi-image-archive", short="m", help="As in Podman; several images need no flag here"),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.save import FORMATS, save

    path, style = given.text("output"), given.text("format") or FORMATS[0]
    if path is None:
        if style == "oci-dir":
            raise errors.InvalidArgument("a directory needs a name", hint="use -o DIR")
        if sys.stdout.isatty():
            raise errors.InvalidArgument(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect", hint="atoll save -o FILE"
            )
    save(open_engine(), given.args, 1 if path is None else path, format=style)
    return 0
