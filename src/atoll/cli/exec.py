"""`atoll exec`: one more process in a running container."""

from __future__ import annotations

from atoll.base import errors
from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="exec",
    usage="exec [OPTIONS] CONTAINER COMMAND [ARG...]",
    help="Execute a command in a running container",
    flags=(
        Flag(name="detach", short="d", help="Run in the background"),
        Flag(name="detach-keys", kind=TEXT, help="Keys that detach, instead of ctrl-p,ctrl-q"),
        Flag(name="env", short="e", kind=LIST, help="Set an environment variable"),
        Flag(name="interactive", short="i", help="Keep standard input open"),
        Flag(name="privileged", help="Give the command all the rights that its container could have"),
        Flag(name="tty", short="t", help="Give the command a terminal"),
        Flag(name="user", short="u", kind=TEXT, help="Name or UID[:GID] to run as"),
        Flag(name="workdir", short="w", kind=TEXT, help="Working directory inside"),
    ),
    least=2,
    most=None,
    stops=True,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.streams import SignalPipe, attend
    from atoll.cli.wiring import open_engine
    from atoll.engine.requests import ExecRequest

    detach, wants_tty, stdin = given.on("detach"), given.on("tty"), given.on("interactive")
    keys = raw = window = None
    if wants_tty:
        from atoll.cli import terminal

        if stdin and not detach and not terminal.is_terminal(0):
            raise errors.InvalidArgument("the input device is not a TTY", hint="leave out -t, or run from a terminal")
        window = terminal.size(0) or terminal.size(1)
    engine = open_engine()
    engine.prepare()
    arrived = SignalPipe(pass_on=not detach, window=wants_tty)
    attachment = engine.exec(
        ExecRequest(
            container=given.args[0],
            command=tuple(given.args[1:]),
            env=given.texts("env"),
            workdir=given.text("workdir"),
            user=given.text("user"),
            terminal=wants_tty,
            stdin=stdin,
            detach=detach,
            privileged=given.on("privileged"),
            window=window,
        )
    )
    if detach:
        attachment.detach()
        return 0
    if wants_tty and terminal.is_terminal(0):
        if stdin:
            text = given.text("detach-keys")
            keys = terminal.DetachKeys(
                terminal.parse_detach_keys(engine.config.detach_keys if text is None else text)
            )
        raw = terminal.RawTerminal(0)
        raw.__enter__()
    try:
        ending = attend(attachment, arrived, stdin=stdin, keys=keys, raw=raw)
    finally:
        if raw is not None:
            raw.restore()
        attachment.close()
    return ending.code
