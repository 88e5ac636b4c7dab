"""`atoll exec`: one more process in a running container."""

from __future__ import annotations

import sys

from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.engine.requests import ExecRequest

COMMAND = Command(
    name="exec",
    usage="exec [OPTIONS] CONTAINER COMMAND [ARG...]",
    help="Execute a command in a running container",
    flags=(
        Flag(name="detach", short="d", help="Run in the background"),
        Flag(name="detach-keys", kind=TEXT, help="Keys that detach, instead of ctrl-p,ctrl-q"),
        Flag(name="env", short="e", kind=LIST, help="Set an environment variable"),
        Flag(name="env-file", kind=LIST, help="Set the environment variables of a file"),
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
    from atoll.cli.foreground import Foreground
    from atoll.cli.wiring import open_engine

    engine, detach = open_engine(), given.on("detach")
    engine.prepare()
    front = None
    if not detach:
        text = given.text("detach-keys")
        front = Foreground(
            terminal=given.on("tty"),
            stdin=given.on("interactive"),
            keys=engine.config.detach_keys if text is None else text,
            must=True,
        )
    window = None
    if given.on("tty"):
        from atoll.cli import terminal

        window = terminal.size(0) or terminal.size(1)
    attachment = engine.exec(read(given, window))
    if front is None:
        attachment.detach()
        return 0
    try:
        ending = front.attend(attachment)
    finally:
        attachment.close()
    if ending.detached:
        sys.stderr.write("read escape sequence\n")
    return ending.code


def read(given: Given, window: tuple[int, int] | None = None) -> ExecRequest:
    """The request that the flags ask for. Raises InvalidArgument for a file of variables that is wrong."""
    from atoll.engine.requests import ExecRequest

    env = given.texts("env")
    if given.texts("env-file"):
        from atoll.cli.env_file import variables

        env = (*variables(given.texts("env-file")), *env)
    return ExecRequest(
        container=given.args[0],
        command=tuple(given.args[1:]),
        env=env,
        workdir=given.text("workdir"),
        user=given.text("user"),
        terminal=given.on("tty"),
        stdin=given.on("interactive"),
        detach=given.on("detach"),
        privileged=given.on("privileged"),
        window=window,
    )
