"""`atoll restore`: containers go on where they were saved."""

from __future__ import annotations

from atoll.cli.options import LIST, TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="restore",
    usage="restore [OPTIONS] CONTAINER [CONTAINER...]",
    help="Let one or more containers go on where 'atoll checkpoint' saved them.\n"
    "With --name a copy of the container does, beside it.",
    flags=(
        Flag(name="checkpoint", kind=TEXT, help="The one of this name, of 'atoll checkpoint create'"),
        Flag(name="keep", short="k", help="Keep the checkpoint (one with a name stays anyway)"),
        Flag(name="name", short="n", kind=TEXT, help="Make a further container of this name"),
        Flag(name="publish", short="p", kind=LIST, help="With --name: publish a port of the copy"),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.checkpoints.restore import restore, restore_copy

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
