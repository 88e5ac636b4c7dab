"""What the doors ask of the engine, as values: parsed, not yet judged.

Holds: the requests. Does not hold: defaults that depend on the host or the image (`containers/plan.py`).
Sizes are bytes, times seconds; None means "not given".
"""

from __future__ import annotations

from atoll.base.value import Value


class RunRequest(Value):
    """`run` and `create`. `env` entries are `KEY=value` or `KEY` (taken from the caller's environment); `volumes`
    are `source:destination[:options]` as typed; `cpus` is in billionths of a CPU."""

    image: str
    command: tuple[str, ...] = ()
    name: str | None = None
    hostname: str | None = None
    env: tuple[str, ...] = ()
    workdir: str | None = None
    user: str | None = None
    entrypoint: str | None = None
    volumes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    read_only: bool = False
    network: str | None = None
    memory: int | None = None
    cpus: int | None = None
    pids_limit: int | None = None
    terminal: bool = False
    stdin: bool = False
    detach: bool = False
    remove: bool = False
    window: tuple[int, int] | None = None
    pull: str = "missing"
    platform: str | None = None
    isolation: str | None = None
    security_opt: tuple[str, ...] = ()
    stop_signal: str | None = None
    stop_timeout: int | None = None


class ExecRequest(Value):
    """`exec` in a running container."""

    container: str
    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    workdir: str | None = None
    user: str | None = None
    terminal: bool = False
    stdin: bool = False
    detach: bool = False
    privileged: bool = False
    window: tuple[int, int] | None = None


class ContainerView(Value):
    """A row of `ps`. `state` is created, running, paused or exited; times are RFC 3339 or None; `ports` and `mounts`
    are already in words."""

    id: str
    name: str
    image: str
    image_id: str
    command: tuple[str, ...]
    created_at: str
    state: str
    exit_code: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    error: str | None = None
    oom_killed: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    network: str = "none"
    mounts: tuple[str, ...] = ()
    size: int | None = None


class ImageView(Value):
    """A row of `images`. `tag` and `digest` are None where there is none."""

    id: str
    repository: str | None
    tag: str | None
    digest: str | None
    created_at: str | None
    size: int
    labels: tuple[tuple[str, str], ...] = ()
    containers: int = 0
