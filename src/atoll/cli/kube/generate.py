"""`atoll kube generate`: documents of pods, containers and volumes."""

from __future__ import annotations

import os
import sys
import time

from atoll.base import errors
from atoll.cli.options import NUMBER, TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="kube generate",
    usage="kube generate [OPTIONS] CONTAINER|POD|VOLUME [...]",
    help="Write Kubernetes' documents that 'kube play' makes the same of",
    aliases=("generate kube",),
    flags=(
        Flag(name="filename", short="f", kind=TEXT, help="Into a new file, instead of standard output"),
        Flag(name="replicas", short="r", kind=NUMBER, what="int", help="With --type deployment: so many pods"),
        Flag(name="type", short="t", kind=TEXT, help="pod or deployment"),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.kube.generate import generate, header
    from atoll.spec import yaml_text

    kind = given.text("type") or "pod"
    if kind not in ("pod", "deployment"):
        raise UsageError(f"invalid value {kind!r} for --type: pod or deployment", given.command.name)
    if given.has("replicas") and kind == "pod":
        raise UsageError("--replicas goes with --type deployment", given.command.name)
    replicas = given.number("replicas")
    engine = open_engine()
    made = generate(engine, given.args, deployment=kind == "deployment", replicas=1 if replicas is None else replicas)
    for line in made.warnings:
        sys.stderr.write(f"WARNING: {line}\n")
    text = header(time.time_ns()) + yaml_text.dump_all(list(made.documents))
    file = given.text("filename")
    if file is None:
        sys.stdout.write(text)
        return 0
    from atoll.base import files

    try:
        files.write_file(file, text, flags=os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except OSError as error:
        raise errors.from_os_error(error, "write the documents") from error
    return 0
