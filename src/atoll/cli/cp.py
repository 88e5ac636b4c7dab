"""`atoll cp`: files into and out of a container."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="cp",
    usage="cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n        atoll cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    help="Copy files or folders between a container and this machine.\n"
    "With '-' as the source a tar archive is read from standard input and unpacked in the container's directory,\n"
    "with '-' as the destination one is written to standard output.",
    flags=(
        Flag(name="archive", short="a", help="Keep uid and gid"),
        Flag(name="follow-link", short="L", help="Follow a symbolic link in SRC_PATH"),
        Flag(name="quiet", short="q", help="Say nothing when all went well"),
    ),
    least=2,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers import copy

    (from_name, source), (to_name, target) = [_side(word) for word in given.args]
    if from_name is not None and to_name is not None:
        raise errors.Unsupported(
            "copying between containers is not supported", hint="copy by way of this machine, or with a pipe: '-'"
        )
    follow, archive = given.on("follow-link"), given.on("archive")
    if from_name is not None:
        if target == "-":
            if sys.stdout.isatty():
                raise errors.InvalidArgument("cannot write an archive to a terminal", hint="redirect the output")
            copy.stream_out(open_engine(), from_name, source, 1, follow=follow)
            return 0
        done = copy.copy_out(open_engine(), from_name, source, target, follow=follow, archive=archive)
    elif to_name is not None:
        if source == "-":
            copy.stream_in(open_engine(), to_name, target, 0)
            return 0
        done = copy.copy_in(open_engine(), to_name, source, target, follow=follow, archive=archive)
    else:
        raise errors.InvalidArgument("must specify at least one container source", hint="write CONTAINER:PATH")
    if not given.on("quiet") and (given.has("quiet") or sys.stderr.isatty()):
        from atoll.base import units

        sys.stderr.write(f"Successfully copied {units.show_size(done.size)} to {given.args[1]}\n")
    return 0


def _side(word: str) -> tuple[str | None, str]:
    """(container, path): a path here begins with `/` or `.`, or has no colon."""
    name, colon, path = word.partition(":")
    if not colon or word.startswith((".", "/")):
        if not word:
            raise errors.InvalidArgument("a path is empty")
        return None, word
    if not name or not path:
        raise errors.InvalidArgument(f"{word!r} is not CONTAINER:PATH")
    return name, path
