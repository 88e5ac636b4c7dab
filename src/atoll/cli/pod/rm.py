"""`atoll pod rm`: remove pods with their containers."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import NUMBER, TEXT, Command, Flag
from atoll.cli.pod.chosen import ALL, FAILED, LATEST, pods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="pod rm",
    usage="pod rm [OPTIONS] POD [POD...]",
    help="Remove one or more pods with their containers",
    flags=(
        ALL,
        Flag(name="force", short="f", help="Also pods that run; one that is not there is fine"),
        Flag(name="ignore", short="i", help="One that is not there is fine"),
        LATEST,
        Flag(name="pod-id-file", kind=TEXT, help="The pod whose ID is in a file, which goes too"),
        Flag(name="time", short="t", kind=NUMBER, what="int", help="With --force: seconds to wait before SIGKILL"),
    ),
    most=None,
)
_MISSING, _IN_USE = 1, 2
"""Podman's exit codes: a pod was not there, and all else went well; one has containers that run."""


def main(given: Given) -> int:
    """Run the command."""
    from atoll.base import files
    from atoll.cli.display import printable
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.remove import remove

    engine, file = open_engine(), given.text("pod-id-file")
    if file is not None:
        try:
            names = [files.read_text(file).strip(), *given.args]
        except OSError as error:
            raise errors.from_os_error(error, "read the pod ID file") from error
    else:
        names = pods(engine, given)
    force, codes = given.on("force"), [0]
    timeout = given.number("time")
    for name in names:
        try:
            sys.stdout.write(remove(engine, name, force=force, timeout=timeout) + "\n")
        except errors.NotFound as error:
            if not (given.on("ignore") or force):
                sys.stderr.write(f"atoll: {printable(str(error))}\n")
                codes.append(_MISSING)
        except errors.AtollError as error:
            sys.stderr.write(f"atoll: {printable(str(error))}\n")
            codes.append(_IN_USE if isinstance(error, errors.Conflict) else FAILED)
        sys.stdout.flush()
    if file is not None and max(codes) == 0:
        files.unlink_if_present(file)
    return max(codes)
