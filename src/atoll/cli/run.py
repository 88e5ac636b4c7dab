"""`atoll run`: parse, let the engine create, attend, pass the exit code on."""

from __future__ import annotations

import os
import sys

from atoll.base import errors, timing
from atoll.cli.container_flags import FLAGS, RARE, read
from atoll.cli.options import LIST, TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.cli.options import Given
    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest
    from atoll.images.values import Progress
    from atoll.isolation.protocol import Attachment

COMMAND = Command(
    name="run",
    usage="run [OPTIONS] IMAGE [COMMAND] [ARG...]",
    help="Create and run a new container from an image.\n"
    "IMAGE may be 'host': this machine's own file system, throw-away.",
    flags=(
        *FLAGS,
        Flag(name="attach", short="a", kind=LIST, help="Attach only to these: stdin, stdout, stderr"),
        Flag(name="detach", short="d", help="Run in the background and print the container's ID"),
        Flag(name="detach-keys", kind=TEXT, help="Keys that detach, instead of ctrl-p,ctrl-q"),
        Flag(name="explain", help="Print the plan of every layer as JSON, and run nothing"),
        Flag(name="sig-proxy", help="Pass signals on to the process (on, but with --sig-proxy=false)"),
    ),
    rare=RARE,
    least=1,
    most=None,
    stops=True,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine

    attached = _attached(given)
    request = read(given, detach=given.on("detach"))
    engine = open_engine()
    timing.mark("engine")
    if given.on("explain"):
        from atoll.base import jsontext

        sys.stdout.write(jsontext.pretty(engine.explain(request)) + "\n")
        return 0
    if not request.detach:
        _check_terminal(given, request)
    check_image(request.image)  # before anything is started for it
    engine.prepare()
    container_id = make(engine, request, given)
    timing.mark("create")
    if request.detach:
        return _detached(engine, container_id)
    return _foreground(engine, container_id, request, given, attached)


def _attached(given: Given) -> tuple[str, ...]:
    """The streams to attach to. Raises UsageError in Docker's words."""
    words = tuple([word.lower() for word in given.texts("attach")])
    for word in words:
        if word not in ("stdin", "stdout", "stderr"):
            raise UsageError(
                f'invalid argument "{word}" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR',
                "run",
            )
    if words and given.on("detach"):
        raise UsageError("conflicting options: cannot specify both --attach and --detach", "run")
    return words or ("stdin", "stdout", "stderr")


def make(engine: Engine, request: RunRequest, given: Given) -> str:
    """Create the container, write its id where `--cidfile` wants it, and say what the user should know. Raises
    Conflict for a file that is there."""
    path = given.text("cidfile") if given.rare else None
    quiet = given.rare and given.on("quiet")
    if path is not None and os.path.lexists(path):
        raise errors.Conflict(
            f"container ID file found, make sure the other container isn't running or delete {path}"
        )
    if not quiet:
        engine.show_unpacking = _show_unpacking

    def missing(reference: str) -> None:
        pull(engine, reference, request.platform, quiet=quiet)

    container_id = _in_new_pod(engine, request, missing) if request.pod[:4] == "new:" else (
        engine.create(request, on_missing=missing)
    )  # fmt: skip
    if path is not None:
        from atoll.base import files

        try:
            files.write_file(path, container_id, flags=os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except OSError as error:
            engine.remove(container_id)
            raise errors.from_os_error(error, "write the container ID file") from error
    for warning in engine.warnings:
        sys.stderr.write(f"WARNING: {warning}\n")
    return container_id


def _in_new_pod(engine: Engine, request: RunRequest, missing: Callable[[str], None]) -> str:
    from atoll.base.rollback import Rollback
    from atoll.engine.pods.fresh import with_new_pod

    with Rollback() as undo:
        request, remove = with_new_pod(engine, request)
        undo.push(remove)
        container_id = engine.create(request, on_missing=missing)
        undo.release()
    return container_id


def check_image(image: str) -> None:
    """Refuse what can name no image. Raises InvalidArgument."""
    if image != "host":
        from atoll.spec import reference

        reference.parse(image)


def _check_terminal(given: Given, request: RunRequest) -> None:
    if not request.terminal and not given.has("detach-keys"):
        return
    from atoll.cli import terminal

    if request.terminal and request.stdin and not terminal.is_terminal(0):
        raise errors.InvalidArgument("the input device is not a TTY", hint="leave out -t, or run from a terminal")
    terminal.parse_detach_keys(given.text("detach-keys") or "")


def pull(engine: Engine, reference: str, platform: str | None, *, quiet: bool = False) -> None:
    """Pull an image that is not here, and say so on stderr."""
    if quiet:
        engine.pull(reference, platform=platform)
        return
    from atoll.cli.pull import fetch

    sys.stderr.write(f"Unable to find image '{reference}' locally\n")
    fetch(engine, reference, platform=platform, out=sys.stderr)


def _show_unpacking(image: str, layers: int, size: int) -> Callable[[Progress], None]:
    """Say on stderr that an image is unpacked once more from what is here; each layer is shown as a pull shows it."""
    from atoll.base import units
    from atoll.cli.pull import Display

    what = "1 layer" if layers == 1 else f"{layers} layers"
    sys.stderr.write(f"Unpacking image '{image}' again: {what}, {units.show_size(size)}\n")
    return Display(sys.stderr).step


def _detached(engine: Engine, container_id: str) -> int:
    from atoll.engine.containers.launch import launch_detached

    launch_detached(engine, container_id)
    sys.stdout.write(container_id + "\n")
    return 0


def _foreground(
    engine: Engine, container_id: str, request: RunRequest, given: Given, attached: tuple[str, ...]
) -> int:
    from atoll.cli.foreground import Foreground, code_of

    text = given.text("detach-keys")
    # Before the launch, which starts the program: an interrupt in between is the program's already.
    front = Foreground(
        terminal=request.terminal,
        stdin=request.stdin and "stdin" in attached,
        keys=engine.config.detach_keys if text is None else text,
        proxy=not given.has("sig-proxy") or given.on("sig-proxy"),
    )
    timing.mark("signals")
    attachment = engine.launch(container_id, promise=request.remove, start=True)
    timing.mark("launch")
    hidden = tuple([number for number, name in ((1, "stdout"), (2, "stderr")) if name not in attached])
    try:
        ending = front.attend(attachment, hidden=hidden, later=lambda: engine.started(container_id))
    except errors.AtollError:
        _settle(engine, container_id, attachment, request)
        raise
    timing.mark("run")
    if ending.report is not None:
        _settle(engine, container_id, attachment, request)
        timing.mark("clean-up")
    return code_of(ending)


def _settle(engine: Engine, container_id: str, attachment: Attachment, request: RunRequest) -> None:
    engine.finish(container_id, remove=request.remove)
    if request.remove:
        attachment.cleaned()
    attachment.close()
