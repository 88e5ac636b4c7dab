"""`atoll start`: start containers that were created or have ended."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.engine.engine import Engine

COMMAND = Command(
    name="start",
    usage="start [OPTIONS] CONTAINER [CONTAINER...]",
    help="Start one or more containers that were created or have ended",
    flags=(
        Flag(name="attach", short="a", help="Show its output, pass signals on, and return its exit code"),
        Flag(name="checkpoint", kind=TEXT, help="Go on from this checkpoint ('atoll checkpoint create')"),
        Flag(name="detach-keys", kind=TEXT, help="Keys that detach, instead of ctrl-p,ctrl-q"),
        Flag(name="interactive", short="i", help="Send it our standard input, too"),
        Flag(name="sig-proxy", help="Pass signals on to the process (on, but with --sig-proxy=false)"),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.start import start

    engine = open_engine()
    checkpoint = given.text("checkpoint")
    if checkpoint is not None:
        return _restored(engine, given, checkpoint)
    if given.on("attach") or given.on("interactive"):
        if len(given.args) > 1:
            raise errors.InvalidArgument("you cannot start and attach multiple containers at once")
        return _attached(engine, given)

    def one(name: str) -> str:
        start(engine, name)
        return name

    return for_each(given.args, one)


def _restored(engine: Engine, given: Given, checkpoint: str) -> int:
    """Docker's spelling of `restore`, with its words."""
    if len(given.args) > 1:
        raise errors.InvalidArgument("you cannot restore multiple containers at once")
    if given.on("attach") or given.on("interactive"):
        raise errors.InvalidArgument("a container that goes on is not attached to", hint="'atoll attach' afterwards")
    from atoll.engine.checkpoints.restore import restore

    restore(engine, given.args[0], name=checkpoint)
    sys.stdout.write(given.args[0] + "\n")
    return 0


def _attached(engine: Engine, given: Given) -> int:
    from atoll.cli.foreground import Foreground, code_of
    from atoll.engine.containers.record import Record
    from atoll.engine.containers.start import start_attached

    row = engine.store.container(given.args[0])
    record = Record.from_text(row.record)
    text = given.text("detach-keys")
    front = Foreground(
        terminal=record.terminal,
        stdin=given.on("interactive") and record.stdin,
        stays=record.stdin_stays,
        keys=engine.config.detach_keys if text is None else text,
        proxy=not given.has("sig-proxy") or given.on("sig-proxy"),
        must=True,
    )
    attached = start_attached(engine, row.id)
    try:
        ending = front.attend(attached.attachment)
    except errors.AtollError:
        engine.finish(row.id, remove=attached.remove)
        if attached.promised:
            attached.attachment.cleaned()
        attached.attachment.close()
        raise
    if ending.report is not None:
        engine.finish(row.id, remove=attached.remove)
        if attached.promised:
            attached.attachment.cleaned()
        attached.attachment.close()
    return code_of(ending)
