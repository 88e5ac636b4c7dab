"""`atoll attach`: join the streams of a container that runs."""

from __future__ import annotations

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.isolation.protocol import Attachment

COMMAND = Command(
    name="attach",
    usage="attach [OPTIONS] CONTAINER",
    help="Join the standard streams of a running container",
    flags=(
        Flag(name="detach-keys", kind=TEXT, help="Keys that detach, instead of ctrl-p,ctrl-q"),
        Flag(name="no-stdin", help="Only look: send no input"),
        Flag(name="sig-proxy", help="Pass signals on to the process (on, but with --sig-proxy=false)"),
    ),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.foreground import Foreground, code_of
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.attach import attach

    engine, wants_input = open_engine(), not given.on("no-stdin")
    attached = attach(engine, given.args[0], stdin=wants_input)
    text = given.text("detach-keys")
    try:
        front = Foreground(
            terminal=attached.terminal,
            stdin=wants_input and attached.stdin,
            stays=attached.stdin_stays,
            keys=engine.config.detach_keys if text is None else text,
            proxy=not given.has("sig-proxy") or given.on("sig-proxy"),
            must=True,
        )
        if attached.terminal:
            _redraw(attached.attachment)
        ending = front.attend(attached.attachment)
    except BaseException:
        attached.attachment.close()
        raise
    if ending.report is not None and attached.remove:
        engine.finish(attached.id, remove=True)
    attached.attachment.close()
    return code_of(ending)


def _redraw(attachment: Attachment) -> None:
    """Give the terminal our size by way of another one: a program that draws a screen or a prompt draws it again."""
    from atoll.cli import terminal

    size = terminal.size(0) or terminal.size(1)
    if size is not None:
        attachment.resize(size[0] + 1, size[1] + 1)
        attachment.resize(*size)
