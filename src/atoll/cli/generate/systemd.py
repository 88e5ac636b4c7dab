"""`atoll generate systemd`: units for containers and pods that are there already.

With `--new` a container's unit makes it anew at each start, by the flags that it was once made with, and removes it.
"""

from __future__ import annotations

import os
import sys

from atoll.base import errors
from atoll.cli.options import LIST, NUMBER, TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.engine.containers.record import Record
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow

COMMAND = Command(
    name="generate systemd",
    usage="generate systemd [OPTIONS] CONTAINER|POD",
    help="Write systemd units that start and stop a container, or a pod and its containers",
    flags=(
        Flag(name="after", kind=LIST, help="A unit that is to be started before"),
        Flag(name="container-prefix", kind=TEXT, help="What names of containers' units begin with; 'container'"),
        Flag(name="env", short="e", kind=LIST, help="A variable of the units: KEY=VALUE"),
        Flag(name="files", short="f", help="Write files into this folder, and print their paths"),
        Flag(name="name", short="n", help="Call units and containers by their names instead of their IDs"),
        Flag(name="new", help="Make the container anew at each start, as it was once made, and remove it afterwards"),
        Flag(name="no-header", help="Without the comment at the top"),
        Flag(name="pod-prefix", kind=TEXT, help="What names of pods' units begin with; 'pod'"),
        Flag(name="requires", kind=LIST, help="A unit without which these are stopped"),
        Flag(name="restart-policy", kind=TEXT, help="on-failure, or another one of systemd's"),
        Flag(name="restart-sec", kind=NUMBER, what="int", help="Seconds before it is started again"),
        Flag(name="separator", kind=TEXT, help="Between prefix and name; '-'"),
        Flag(name="start-timeout", kind=NUMBER, what="int", help="Seconds to start"),
        Flag(name="stop-timeout", short="t", kind=NUMBER, what="int", help="Seconds to stop before SIGKILL"),
        Flag(name="wants", kind=LIST, help="A unit that is to be started, too"),
    ),
    least=1,
    most=1,
)
_POLICIES = ("no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always")
_MARGIN = 60


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine

    policy = given.text("restart-policy")
    if policy is not None and policy not in _POLICIES:
        raise UsageError(f"{policy} is not a valid restart policy: {', '.join(_POLICIES)}", given.command.name)
    for entry in given.texts("env"):
        if "=" not in entry:
            raise UsageError(f"invalid variable {entry!r}: KEY=VALUE", given.command.name)
    units = _units(open_engine(), given)
    if not given.on("files"):
        sys.stdout.write("\n".join([text for _, text in units]))
        return 0
    from atoll.base import files

    for name, text in units:
        path = os.path.abspath(name)
        try:
            files.write_atomic(path, text, mode=0o644)
        except OSError as error:
            raise errors.from_os_error(error, "write the unit") from error
        sys.stdout.write(path + "\n")
    return 0


def _units(engine: Engine, given: Given) -> list[tuple[str, str]]:
    """File names and texts: a container's, or a pod's and those of its containers. Raises NotFound."""
    try:
        row = engine.store.container(given.args[0])
    except errors.NotFound:
        return _of_pod(engine, given)
    name, text = _container(engine, row, given, pod=None)
    return [(name, text)]


def _of_pod(engine: Engine, given: Given) -> list[tuple[str, str]]:
    from atoll.engine.pods import rows
    from atoll.engine.pods.each import members

    try:
        pod = rows.find(engine, given.args[0])
    except errors.NotFound:
        raise errors.NotFound(f"no container or pod {given.args[0]}") from None
    if given.on("new"):
        raise errors.Unsupported(
            f"{pod.name} is a pod: units that make one anew are quadlet's here",
            hint="write a .pod file; 'atoll generate quadlet' makes a unit of it",
        )
    infra = rows.infra_of(engine, pod)
    if infra is None:
        raise errors.FailedPrecondition(f"pod {pod.name} has no infra container that a unit could start")
    called = pod.name if given.on("name") else pod.id
    unit = f"{_prefix(given, 'pod-prefix', 'pod')}{called}.service"
    others = [_container(engine, one, given, pod=unit) for one in members(engine, pod, infra=False)]
    needs = [f"Wants={' '.join([name for name, _ in others])}", f"Before={' '.join([name for name, _ in others])}"]
    service = [
        "Type=oneshot",
        "RemainAfterExit=yes",
        *_commands(given, ExecStart=["start", infra.name], ExecStop=["pod", "stop", called]),
    ]
    text = _text(given, unit, service, needs if others else [], stop=given.number("stop-timeout") or 10)
    return [(unit, text), *others]


def _container(engine: Engine, row: ContainerRow, given: Given, *, pod: str | None) -> tuple[str, str]:
    from atoll.engine.containers.record import Record

    record = Record.from_text(row.record)
    # One that is made anew has another id each time.
    unit = f"{_prefix(given, 'container-prefix', 'container')}{row.name if given.on('name') else row.id}.service"
    called = row.name if given.on("name") or given.on("new") else row.id
    anew = _anew(row, record) if given.on("new") else None
    if record.remove and anew is None:
        raise errors.FailedPrecondition(
            f"container {row.name} goes with its end, so that no unit could start it again"
        )
    stop = given.number("stop-timeout")
    seconds = record.stop_timeout if stop is None else stop
    service = [
        # In the foreground, so that systemd has its exit code and its output.
        "Type=exec",
        f"Restart={given.text('restart-policy') or 'on-failure'}",
        *(_commands(given, ExecStartPre=anew) if anew is not None else ()),
        *_commands(given, ExecStart=["start", "--attach", called], ExecStop=["stop", "-t", str(seconds), called]),
        *_commands(
            given,
            ExecStopPost=["stop", "-t", str(seconds), called] if anew is None else ["rm", "-f", "-v", called],
        ),
    ]
    if given.number("restart-sec") is not None:
        service.insert(2, f"RestartSec={given.number('restart-sec')}")
    needs = [f"BindsTo={pod}", f"After={pod}"] if pod is not None else []
    return unit, _text(given, unit, service, needs, stop=seconds)


def _anew(row: ContainerRow, record: Record) -> list[str]:
    """The words that make a container as it was once made. Made and started by two commands: so its input is not the
    unit's, and a terminal may be its own."""
    if not record.command_line:
        raise errors.FailedPrecondition(
            f"container {row.name} was not made by 'run' or 'create', so that nobody knows the flags for another one",
            hint="'atoll generate kube' describes any container; 'kube play --replace' makes it anew",
        )
    if record.pod:
        raise errors.Unsupported(
            f"container {row.name} is in a pod: units that make one anew are quadlet's here",
            hint="write a .container file; 'atoll generate quadlet' makes a unit of it",
        )
    return ["create", "--replace", f"--name={row.name}", *record.command_line]


def _prefix(given: Given, flag: str, default: str) -> str:
    text = given.text(flag)
    prefix = default if text is None else text
    separator = given.text("separator")
    return f"{prefix}{'-' if separator is None else separator}" if prefix else ""


def _commands(given: Given, **lines: list[str]) -> list[str]:
    from atoll.cli.generate.program import program
    from atoll.spec.unit_text import literal

    mine = program()
    return [f"{key}={' '.join([literal(word) for word in (mine, *words)])}" for key, words in lines.items()]


def _text(given: Given, unit: str, service: list[str], needs: list[str], *, stop: int) -> str:
    from atoll import __version__
    from atoll.cli.generate.program import environment, places

    head = [] if given.on("no-header") else [f"# {unit}", f"# made by atoll {__version__}, generate systemd", ""]
    rootless = os.geteuid() != 0
    online = [] if rootless else ["Wants=network-online.target", "After=network-online.target"]
    asked = [
        f"{key}={' '.join(given.texts(flag))}"
        for key, flag in (("Wants", "wants"), ("After", "after"), ("Requires", "requires"))
        if given.has(flag)
    ]
    start = given.number("start-timeout")
    lines = [
        *head,
        "[Unit]",
        f"Description=Atoll {unit}",
        "Documentation=man:atoll-generate-systemd(1)",
        *online,
        *asked,
        *needs,
        "",
        "[Service]",
        *environment([*places(), *given.texts("env")]),
        *service,
        *([f"TimeoutStartSec={start}"] if start is not None else []),
        f"TimeoutStopSec={max(0, stop) + _MARGIN}",
        "# Processes of ours in this cgroup may be other containers' monitors.",
        "KillMode=process",
        "Delegate=yes",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    return "\n".join(lines)
