"""`atoll checkpoint`: save running containers, as podman does it; Docker's `checkpoint create`, `ls` and `rm` are
beside."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="checkpoint",
    usage="checkpoint [OPTIONS] CONTAINER [CONTAINER...]",
    help="Save one or more running containers of the level 'vm', with their memory, and end them.\n"
    "'atoll restore' lets them go on from there.",
    flags=(
        Flag(name="all", short="a", help="All running containers of the level 'vm'"),
        Flag(name="export", short="e", kind=TEXT, what="file", help="Into an archive that another store restores"),
        Flag(name="ignore-volumes", help="With --export: leave out volumes and what is in them"),
        Flag(name="leave-running", short="R", help="Let the container go on"),
        Flag(name="memory", help="With its memory (on, but with --memory=false: a restore starts it anew)"),
        Flag(name="with-image", help="With --export: the image in the archive, not only its digest"),
    ),
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.checkpoints.save import running, save

    engine = open_engine()
    names = list(given.args)
    if given.on("all"):
        names += running(engine)
    elif not names:
        raise UsageError("'atoll checkpoint' requires at least 1 argument, or --all", "checkpoint")
    memory = given.on("memory") if given.has("memory") else True
    leave_running = given.on("leave-running")
    out, with_image = given.text("export"), given.on("with-image")
    if out is None and with_image:
        raise UsageError("--with-image is for --export", "checkpoint")
    if out is not None and len(names) != 1:
        raise UsageError("--export takes exactly one container", "checkpoint")

    def one(name: str) -> str:
        if out is not None:
            from atoll.engine.checkpoints.export import export

            notes = export(
                engine,
                name,
                out,
                leave_running=leave_running,
                memory=memory,
                with_image=with_image,
                ignore_volumes=given.on("ignore-volumes"),
            )
            for note in notes:
                sys.stderr.write(f"WARNING: {note}\n")
        else:
            save(engine, name, leave_running=leave_running, memory=memory)
        return name

    return for_each(names, one)
