"""The flags that `run` and `create` share, and the request that they make.

Holds: `FLAGS`, those of a usual command line, and `read`. Does not hold: the other ones (`container_flags_rare.py`,
loaded when one of them is given, so that a plain `run` pays nothing for a hundred flags), what they mean
(`engine/containers/`).
"""

from __future__ import annotations

from atoll.base import units
from atoll.cli.options import LIST, NUMBER, TEXT, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.requests import RunRequest

RARE = "container_flags_rare"
_ONLY_NOW = ("attach", "cidfile", "detach", "detach-keys", "explain", "name", "replace", "restart", "rm", "sig-proxy")
"""What belongs to this command, or is for a unit of systemd to say (`generate systemd --new`)."""

FLAGS = (
    Flag(name="cpus", kind=TEXT, what="decimal", help="Number of CPUs"),
    Flag(name="entrypoint", kind=TEXT, help="Instead of the image's ENTRYPOINT"),
    Flag(name="env", short="e", kind=LIST, help="Set an environment variable (KEY takes the value it has here)"),
    Flag(name="hostname", short="h", kind=TEXT, help="The container's host name"),
    Flag(name="init", help="Run a small init as process 1, which passes signals on and reaps"),
    Flag(name="interactive", short="i", help="Keep standard input open"),
    Flag(name="runtime", kind=TEXT, help="An OCI runtime by name or path, instead of Atoll's own"),
    Flag(name="isolation", kind=TEXT, help="How strong the wall is: container, gvisor ('atoll isolation ls')"),
    Flag(name="label", short="l", kind=LIST, help="Set a label"),
    Flag(name="memory", short="m", kind=TEXT, what="bytes", help="Memory limit, e.g. 512m"),
    Flag(name="name", kind=TEXT, help="The container's name"),
    Flag(
        name="network", kind=LIST, help="A network, bridge, none, host, pasta, slirp4netns, container:NAME or ns:PATH"
    ),
    Flag(name="pids-limit", kind=NUMBER, what="int", help="Most processes; -1 for no limit"),
    Flag(name="platform", kind=TEXT, help="Of an image for several, e.g. linux/arm64"),
    Flag(name="publish", short="p", kind=LIST, help="Publish a port: [[ADDRESS:]HOST:]CONTAINER[/tcp|udp|sctp]"),
    Flag(name="pull", kind=TEXT, help="When to pull: missing, always or never"),
    Flag(name="read-only", help="Mount the root file system read-only"),
    Flag(name="replace", help="Remove the container that has the name first"),
    Flag(name="restart", kind=TEXT, help="When it ends: no, always, unless-stopped, on-failure[:N]"),
    Flag(name="rm", help="Remove the container when it ends"),
    Flag(name="security-opt", kind=LIST, help="Loosen or tighten one default, e.g. no-new-privileges=false"),
    Flag(name="stop-signal", kind=TEXT, help="The signal that 'atoll stop' sends"),
    Flag(name="stop-timeout", kind=NUMBER, what="int", help="Seconds that 'atoll stop' waits before SIGKILL"),
    Flag(name="tty", short="t", help="Give the container a terminal"),
    Flag(name="user", short="u", kind=TEXT, help="Name or UID[:GID] to run as"),
    Flag(name="volume", short="v", kind=LIST, help="Bind mount or volume: SOURCE:DESTINATION[:OPTIONS]"),
    Flag(name="workdir", short="w", kind=TEXT, help="Working directory inside"),
)


def read(given: Given, **more: Any) -> RunRequest:
    """The request that the flags ask for; `more` are fields that the command itself knows. Raises UsageError and
    InvalidArgument."""
    from atoll.engine.requests import RunRequest

    name = given.command.name
    memory, cpus, pull = given.text("memory"), given.text("cpus"), given.text("pull") or "missing"
    if pull not in ("missing", "always", "never"):
        raise UsageError(f"invalid value {pull!r} for --pull: missing, always or never", name)
    if given.on("replace") and not given.text("name"):
        raise UsageError("cannot replace container without --name being set", name)
    restart, restart_max = _restart(given)
    terminal = given.on("tty")
    window = None
    if terminal:
        from atoll.cli import terminal as own

        window = own.size(0) or own.size(1)
    if given.rare:
        from atoll.cli import container_flags_rare

        more = {**container_flags_rare.read(given), **more}
    if given.rare or given.has("publish") or len(given.texts("network")) > 1:
        from atoll.cli import network_flags

        more = {**more, **network_flags.read(given)}
    env, labels = more.pop("env", None), more.pop("labels", None)
    return RunRequest(
        image=given.args[0],
        command=tuple(given.args[1:]),
        name=given.text("name"),
        hostname=given.text("hostname"),
        env=given.texts("env") if env is None else env,
        workdir=given.text("workdir"),
        user=given.text("user"),
        entrypoint=given.text("entrypoint"),
        volumes=given.texts("volume"),
        labels=given.texts("label") if labels is None else labels,
        read_only=given.on("read-only"),
        network=more.pop("network", None) or (given.texts("network")[0] if given.has("network") else None),
        memory=units.parse_size(memory, "memory limit") if memory is not None else None,
        cpus=units.parse_nano_cpus(cpus) if cpus is not None else None,
        pids_limit=given.number("pids-limit"),
        init=given.on("init"),
        restart=restart,
        restart_max=restart_max,
        terminal=terminal,
        stdin=given.on("interactive"),
        remove=given.on("rm"),
        window=window,
        pull=pull,
        platform=more.pop("platform", None) or given.text("platform"),
        replaces=given.on("replace"),
        command_line=given.words(*_ONLY_NOW),
        isolation=_isolation(given),
        security_opt=given.texts("security-opt"),
        stop_signal=given.text("stop-signal"),
        stop_timeout=given.number("stop-timeout"),
        **more,
    )


def _isolation(given: Given) -> str | None:
    level, runtime = given.text("isolation"), given.text("runtime")
    if level and runtime and level != runtime:
        raise UsageError("conflicting options: --isolation and --runtime name two levels", given.command.name)
    # Docker's word for the runtime that it brings along is `runc`'s place: ours is called atoll-runtime.
    return level or ("container" if runtime == "atoll-runtime" else runtime)


def _restart(given: Given) -> tuple[str, int]:
    text = given.text("restart")
    if not text:
        return "no", 0
    from atoll.engine.containers.restart_policy import parse

    policy = parse(text)
    if policy[0] != "no" and given.on("rm"):
        raise UsageError("conflicting options: cannot specify both --restart and --rm", given.command.name)
    return policy
