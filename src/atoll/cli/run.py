"""`atoll run`: parse, let the engine create, attend, pass the exit code on."""

from __future__ import annotations

import sys

from atoll.base import errors, timing, units
from atoll.cli.options import LIST, NUMBER, TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest

COMMAND = Command(
    name="run",
    usage="run [OPTIONS] IMAGE [COMMAND] [ARG...]",
    help="Create and run a new container from an image.\n"
    "IMAGE may be 'host': this machine's own file system, throw-away.",
    flags=(
        Flag(name="cpus", kind=TEXT, what="decimal", help="Number of CPUs"),
        Flag(name="detach", short="d", help="Run in the background and print the container's ID"),
        Flag(name="detach-keys", kind=TEXT, help="Keys that detach, instead of ctrl-p,ctrl-q"),
        Flag(name="entrypoint", kind=TEXT, help="Instead of the image's ENTRYPOINT"),
        Flag(name="env", short="e", kind=LIST, help="Set an environment variable (KEY takes the value it has here)"),
        Flag(name="explain", help="Print the plan of every layer as JSON, and run nothing"),
        Flag(name="hostname", kind=TEXT, help="The container's host name"),
        Flag(name="interactive", short="i", help="Keep standard input open"),
        Flag(name="isolation", kind=TEXT, help="How strong the wall is: container"),
        Flag(name="label", short="l", kind=LIST, help="Set a label"),
        Flag(name="memory", short="m", kind=TEXT, what="bytes", help="Memory limit, e.g. 512m"),
        Flag(name="name", kind=TEXT, help="The container's name"),
        Flag(name="network", kind=TEXT, help="none (only its own loopback) or host"),
        Flag(name="pids-limit", kind=NUMBER, what="int", help="Most processes; -1 for no limit"),
        Flag(name="platform", kind=TEXT, help="Of an image for several, e.g. linux/arm64"),
        Flag(name="pull", kind=TEXT, help="When to pull: missing, always or never"),
        Flag(name="read-only", help="Mount the root file system read-only"),
        Flag(name="rm", help="Remove the container when it ends"),
        Flag(name="security-opt", kind=LIST, help="Loosen or tighten one default, e.g. no-new-privileges=false"),
        Flag(name="sig-proxy", help="Pass signals on to the process (on, but with --sig-proxy=false)"),
        Flag(name="stop-signal", kind=TEXT, help="The signal that 'atoll stop' sends"),
        Flag(name="stop-timeout", kind=NUMBER, what="int", help="Seconds that 'atoll stop' waits before SIGKILL"),
        Flag(name="tty", short="t", help="Give the container a terminal"),
        Flag(name="user", short="u", kind=TEXT, help="Name or UID[:GID] to run as"),
        Flag(name="volume", short="v", kind=LIST, help="Bind mount: SOURCE:DESTINATION[:OPTIONS]"),
        Flag(name="workdir", short="w", kind=TEXT, help="Working directory inside"),
    ),
    least=1,
    most=None,
    stops=True,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine

    request = read(given)
    engine = open_engine()
    timing.mark("engine")
    if given.on("explain"):
        from atoll.base import jsontext

        sys.stdout.write(jsontext.pretty(engine.explain(request)) + "\n")
        return 0
    if not request.detach:
        _check_terminal(given, request)
    _check_image(request.image)  # before anything is started for it
    engine.prepare()
    container_id = engine.create(request, on_missing=lambda reference: _pull(engine, reference, request.platform))
    timing.mark("create")
    if request.detach:
        return _detached(engine, container_id)
    return _foreground(engine, container_id, request, given)


def read(given: Given) -> RunRequest:
    """The request that the flags ask for. Raises UsageError and InvalidArgument."""
    from atoll.engine.requests import RunRequest

    memory, cpus, pull = given.text("memory"), given.text("cpus"), given.text("pull") or "missing"
    if pull not in ("missing", "always", "never"):
        raise UsageError(f"invalid value {pull!r} for --pull: missing, always or never", "run")
    detach, terminal = given.on("detach"), given.on("tty")
    window = None
    if terminal:
        from atoll.cli import terminal as own

        window = own.size(0) or own.size(1)
    return RunRequest(
        image=given.args[0],
        command=tuple(given.args[1:]),
        name=given.text("name"),
        hostname=given.text("hostname"),
        env=given.texts("env"),
        workdir=given.text("workdir"),
        user=given.text("user"),
        entrypoint=given.text("entrypoint"),
        volumes=given.texts("volume"),
        labels=given.texts("label"),
        read_only=given.on("read-only"),
        network=given.text("network"),
        memory=units.parse_size(memory, "memory limit") if memory is not None else None,
        cpus=units.parse_nano_cpus(cpus) if cpus is not None else None,
        pids_limit=given.number("pids-limit"),
        terminal=terminal,
        stdin=given.on("interactive"),
        detach=detach,
        remove=given.on("rm"),
        window=window,
        pull=pull,
        platform=given.text("platform"),
        isolation=given.text("isolation"),
        security_opt=given.texts("security-opt"),
        stop_signal=given.text("stop-signal"),
        stop_timeout=given.number("stop-timeout"),
    )


def _check_image(image: str) -> None:
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


def _pull(engine: Engine, reference: str, platform: str | None) -> None:
    from atoll.cli.pull import fetch

    sys.stderr.write(f"Unable to find image '{reference}' locally\n")
    fetch(engine, reference, platform=platform, out=sys.stderr)


def _detached(engine: Engine, container_id: str) -> int:
    attachment = engine.launch(container_id)
    try:
        attachment.start()
        attachment.detach()
    except errors.AtollError:
        attachment.close()
        raise
    engine.started(container_id)
    sys.stdout.write(container_id + "\n")
    return 0


def _foreground(engine: Engine, container_id: str, request: RunRequest, given: Given) -> int:
    from atoll.cli.streams import SignalPipe, attend

    # Before the launch, which starts the program: an interrupt in between is the program's already.
    arrived = SignalPipe(pass_on=not given.has("sig-proxy") or given.on("sig-proxy"), window=request.terminal)
    timing.mark("signals")
    attachment = engine.launch(container_id, promise=request.remove, start=True)
    timing.mark("launch")
    keys = raw = None
    if request.terminal:
        from atoll.cli import terminal

        if request.stdin:
            text = given.text("detach-keys")
            keys = terminal.DetachKeys(
                terminal.parse_detach_keys(engine.config.detach_keys if text is None else text)
            )
        if terminal.is_terminal(0):
            raw = terminal.RawTerminal(0)
            raw.__enter__()
    try:
        ending = attend(attachment, arrived, stdin=request.stdin, keys=keys, raw=raw)
    except errors.AtollError:
        if raw is not None:
            raw.restore()
        engine.finish(container_id, remove=request.remove)
        if request.remove:
            attachment.cleaned()
        attachment.close()
        raise
    finally:
        if raw is not None:
            raw.restore()
    timing.mark("run")
    if ending.gone:
        return ending.code
    if ending.detached:
        sys.stderr.write("read escape sequence\n")
        return 0
    if ending.abandoned:
        sys.stderr.write("atoll: the container ignores signals; left it alone: 'atoll kill' ends it\n")
        return ending.code
    report = dict(ending.report or ())
    engine.finish(container_id, remove=request.remove)
    if request.remove:
        attachment.cleaned()
    attachment.close()
    timing.mark("clean-up")
    if report.get("oom"):
        sys.stderr.write("atoll: the container ran out of memory and was killed: raise --memory\n")
    elif report.get("error"):
        sys.stderr.write(f"atoll: {report['error']}\n")
    return ending.code
