"""`atoll import`: a file system's archive, or a directory, as an image."""

from __future__ import annotations

import sys

from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="import",
    usage="import [OPTIONS] file|DIRECTORY|URL|- [REPOSITORY[:TAG]]",
    help="Make an image of a file system's archive or of a directory",
    aliases=("image import",),
    flags=(
        Flag(name="disk", help="The file is a disk, raw or qcow2: its root file system is wanted"),
        Flag(name="change", short="c", kind=LIST, help="Apply a Dockerfile instruction, e.g. 'CMD [\"sh\"]'"),
        Flag(name="message", short="m", kind=TEXT, help="What its history says"),
        Flag(name="platform", kind=TEXT, help="What it runs on, e.g. linux/arm64"),
        Flag(name="quiet", short="q", help="As in Podman; only the ID is printed anyway"),
    ),
    least=1,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.import_ import import_image

    image_id = import_image(
        open_engine(),
        given.args[0],
        given.args[1] if len(given.args) > 1 else None,
        changes=given.texts("change"),
        message=given.text("message") or "",
        platform=given.text("platform"),
        disk=given.on("disk"),
    )
    sys.stdout.write(image_id + "\n")
    return 0
