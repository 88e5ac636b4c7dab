"""`atoll export`: a container's root file system as a tar archive."""

from __future__ import annotations

import os
import sys

from atoll.base import errors
from atoll.base.rollback import Rollback
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="export",
    usage="export [OPTIONS] CONTAINER",
    help="Write a container's root file system as a tar archive",
    flags=(Flag(name="output", short="o", kind=TEXT, help="To a file, instead of standard output"),),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.export import export

    path = given.text("output")
    if path is None:
        if sys.stdout.isatty():
            raise errors.InvalidArgument("cannot write an archive to a terminal", hint="use --output, or redirect")
        export(open_engine(), given.args[0], 1)
        return 0
    if os.path.exists(path) and not os.path.isfile(path):  # a device or a pipe is written to, never replaced
        with open(path, "wb", buffering=0) as stream:
            export(open_engine(), given.args[0], stream.fileno())
        return 0
    # Under another name until it is whole: what was there before stays until then.
    staged = f"{path}.{os.getpid()}.part"
    with Rollback() as undo:
        try:
            fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            error.filename = path
            raise errors.from_os_error(error, "write the archive to") from error
        undo.push(os.unlink, staged)
        try:
            export(open_engine(), given.args[0], fd)
        finally:
            os.close(fd)
        os.rename(staged, path)
        undo.release()
    return 0
