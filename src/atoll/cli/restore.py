"""`atoll restore`: containers go on where they were saved."""

from __future__ import annotations

import sys

from atoll.cli.container_flags import FLAGS, RARE, read
from atoll.cli.options import LIST, TEXT, Command, Flag, UsageError, all_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

_NOT_HERE = ("interactive", "tty", "pull", "platform", "runtime", "isolation")
"""The archive says the first two and the image; its level is `vm`."""
COMMAND = Command(
    name="restore",
    usage="restore [OPTIONS] CONTAINER [CONTAINER...]",
    help="Let one or more containers go on where 'atoll checkpoint' saved them.\n"
    "With --name a copy of the container does, beside it. With --import FILE one is made of an archive; the other\n"
    "options, those of 'run', say what it may do: nothing of the kind is taken from an archive.",
    flags=(
        Flag(name="checkpoint", kind=TEXT, help="The one of this name, of 'atoll checkpoint create'"),
        Flag(
            name="import",
            short="i",
            kind=TEXT,
            what="file",
            help="Make the container of an archive ('-': stdin)",
        ),
        Flag(name="ignore-volumes", help="With --import: make none of the archive's volumes"),
        Flag(name="keep", short="k", help="Keep the checkpoint (one with a name stays anyway)"),
        Flag(
            name="rename-volume",
            kind=LIST,
            what="old=new",
            help="With --import: make a volume of the archive under another name",
        ),
        *[flag for flag in FLAGS if flag.name not in _NOT_HERE],
    ),
    rare=RARE,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.checkpoints.restore import restore, restore_copy

    source = given.text("import")
    if source is not None:
        if given.args or given.has("checkpoint"):
            raise UsageError("--import makes a container, and takes the name of none", "restore")
        return _import(given, source)
    if not given.args:
        raise UsageError("'atoll restore' requires at least 1 argument, or --import", "restore")
    _check_flags(given)
    engine = open_engine()
    checkpoint, new_name, publish = given.text("checkpoint"), given.text("name"), given.texts("publish")
    if new_name is not None:
        if len(given.args) != 1:
            raise UsageError("--name takes exactly one container", "restore")

        def copied(name: str) -> str:
            return restore_copy(engine, name, name=checkpoint, new_name=new_name, publish=publish)

        return for_each(given.args, copied)
    if publish:
        raise UsageError("--publish is for --name: the container itself has its ports", "restore")

    def again(name: str) -> str:
        restore(engine, name, name=checkpoint, keep=given.on("keep"))
        return name

    return for_each(given.args, again)


def _check_flags(given: Given) -> None:
    """A container of this store has its settings already. Raises UsageError."""
    known = ("checkpoint", "keep", "name", "publish")
    for flag in all_flags(COMMAND):
        if flag.name not in known and given.has(flag.name):
            raise UsageError(f"--{flag.name} is for --import: this container has its settings", "restore")


def _import(given: Given, source: str) -> int:
    from atoll.cli.wiring import open_engine
    from atoll.engine.checkpoints.import_ import import_
    from atoll.engine.checkpoints.volumes import Wishes

    if given.text("cidfile") is not None:
        raise UsageError("--cidfile is not for restore: the ID is printed", "restore")
    given.args.append("")  # the image, which the archive names
    request = read(given, detach=True)
    renamed = []
    for one in given.texts("rename-volume"):
        old, equals, new = one.partition("=")
        if not (old and equals and new):
            raise UsageError(f"--rename-volume takes OLD=NEW, not {one!r}", "restore")
        renamed.append((old, new))
    engine = open_engine()
    wishes = Wishes(ignore=given.on("ignore-volumes"), renamed=tuple(renamed))
    made = import_(engine, source, request, wishes)
    for warning in engine.warnings:
        sys.stderr.write(f"WARNING: {warning}\n")
    sys.stdout.write(made + "\n")
    return 0
