"""`atoll load`: images out of an archive or an image layout."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="load",
    usage="load [OPTIONS]",
    help="Load images from an archive (docker-archive or image layout) or from standard input",
    aliases=("image load",),
    flags=(
        Flag(name="input", short="i", kind=TEXT, help="From a file or directory, instead of standard input"),
        Flag(name="platform", kind=TEXT, help="Of an image for several, e.g. linux/arm64"),
        Flag(name="quiet", short="q", help="Only print what was loaded"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.pull import Display
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.load import load

    path = given.text("input")
    if path is None and sys.stdin.isatty():
        raise errors.InvalidArgument("requested load from stdin, but stdin is empty", hint="atoll load -i FILE")
    shown = None if given.on("quiet") else Display(sys.stdout)
    try:
        loaded = load(
            open_engine(),
            0 if path is None else path,
            progress=shown.step if shown is not None and shown.live else None,
            platform=given.text("platform"),
        )
    finally:
        if shown is not None:
            shown.close()
    for image in loaded:
        lines = [f"Loaded image: {name}" for name in image.names] or [f"Loaded image ID: {image.id}"]
        sys.stdout.write("".join([line + "\n" for line in lines]))
    return 0
