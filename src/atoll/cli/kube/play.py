"""`atoll kube play`: make pods of Kubernetes' documents."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import LIST, TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.engine.engine import Engine
    from atoll.engine.kube.play import Report

COMMAND = Command(
    name="kube play",
    usage="kube play [OPTIONS] FILE|-",
    help="Make pods, volumes and secrets of Kubernetes' documents",
    aliases=("play kube",),
    flags=(
        Flag(name="configmap", kind=LIST, help="A further file, of ConfigMaps"),
        Flag(name="down", help="The opposite, as 'kube down'"),
        Flag(name="force", help="With --down: remove the volumes of claims, too"),
        Flag(name="log-driver", kind=TEXT, help="As of 'run', for all containers"),
        Flag(name="log-opt", kind=LIST, help="As of 'run', for all containers"),
        Flag(name="network", kind=TEXT, help="The network of the pods: a name, bridge, none or host"),
        Flag(name="publish", kind=LIST, help="Publish a further port: [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]"),
        Flag(name="quiet", short="q", help="Do not show what a pull does"),
        Flag(name="replace", help="Remove pods of the same names before"),
        Flag(name="start", help="Start the pods (on, but with --start=false)"),
        Flag(name="userns", kind=TEXT, help="User namespace of the pods, as of 'pod create'"),
    ),
    least=1,
    most=1,
)
MOST = 8 << 20
FAILED = 125


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.kube.play import Options, play

    if given.on("down"):
        from atoll.cli.kube.down import take_down

        return take_down(given, force=given.on("force"))
    if given.on("force"):
        raise UsageError("--force goes with --down", given.command.name)
    name, data = content(given.args[0])
    options = Options(
        replace_old=given.on("replace"),
        start=not given.has("start") or given.on("start"),
        network=given.text("network"),
        publish=given.texts("publish"),
        userns=given.text("userns") or "",
        log_driver=given.text("log-driver"),
        log_options=given.texts("log-opt"),
        maps=tuple([content(one) for one in given.texts("configmap")]),
    )
    engine = open_engine()
    report = play(engine, name, data, options, on_missing=lambda reference: _pull(engine, reference, given))
    for line in (*report.warnings, *engine.warnings):
        sys.stderr.write(f"WARNING: {line}\n")
    return show(report)


def _pull(engine: Engine, reference: str, given: Given) -> None:
    from atoll.cli.run import pull

    pull(engine, reference, None, quiet=given.on("quiet"))


def content(path: str) -> tuple[str, bytes]:
    """A file's name and what is in it; `-` for standard input. Raises InvalidArgument for more than is read, and what
    the disk says."""
    if path.startswith(("http://", "https://")):
        raise errors.Unsupported("documents are not fetched", hint=f"curl -fsSL {path} | atoll kube play -")
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MOST + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MOST + 1)
    except OSError as error:
        raise errors.from_os_error(error, "read the documents") from error
    return ("standard input" if path == "-" else path), data


def show(report: Report) -> int:
    """Podman's blocks; 125 if a container did not start."""
    from atoll.cli.display import printable

    for heading, names in (("Volumes:", report.volumes), ("Secrets:", report.secrets)):
        if names:
            sys.stdout.write("\n".join([heading, *names]) + "\n")
    failed = 0
    for pod in report.pods:
        lines = ["Pod:", pod.id]
        if pod.containers:
            lines += ["Container:" if len(pod.containers) == 1 else "Containers:", *pod.containers]
        sys.stdout.write("\n".join(lines) + "\n\n")
        sys.stdout.flush()
        for line in pod.failed:
            sys.stderr.write(f"atoll: {printable(line)}\n")
        failed += len(pod.failed)
    if failed:
        sys.stderr.write(f"atoll: failed to start {failed} containers\n")
    return FAILED if failed else 0
