"""What the doors ask of the engine, as values: parsed, not yet judged.

Holds: the requests. Does not hold: defaults that depend on the host or the image (`containers/plan.py`).
Sizes are bytes, times seconds; None means "not given".
"""

from __future__ import annotations

from atoll.base.value import Value
from atoll.spec.codec import int64, list_of, record, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.limits import Limits
    from atoll.engine.containers.mount_flags import Storage
    from atoll.engine.containers.rights import Rights
    from atoll.engine.containers.sharing import Sharing
    from atoll.engine.networks.records import Networking, NetworkOptions


class Probe(Value):
    """One of several checks of a container, with Kubernetes' rules: `startup`, `liveness` or `readiness`; times in
    nanoseconds; `test` as in `Health`."""

    kind: str
    test: tuple[str, ...]
    delay: int = 0
    interval: int = 10 * 10**9
    timeout: int = 10**9
    retries: int = 3
    successes: int = 1
    WIRE = {
        "kind": text,
        "test": list_of(text),
        "delay": int64,
        "interval": int64,
        "timeout": int64,
        "retries": int64,
        "successes": int64,
    }


class Health(Value):
    """How a container's health is judged. `test` as Docker writes it: `CMD` and words, `CMD-SHELL` and a line,
    `NONE`; times in nanoseconds; 0 is "not given": `filled` has the defaults. `probes`, if there are any, are what is
    looked at, each `interval` those that are due. `on_failure`: what becomes of an unhealthy one, none, kill, restart
    or stop; `grace`: the seconds that it has to end then, 0 for its own."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0
    probes: tuple[Probe, ...] = ()
    on_failure: str = ""
    grace: int = 0
    WIRE = {
        "test": list_of(text),
        "interval": int64,
        "timeout": int64,
        "start_period": int64,
        "start_interval": int64,
        "retries": int64,
        "probes": list_of(record(Probe)),
        "on_failure": text,
        "grace": int64,
    }

    def filled(self) -> Health:
        """With Docker's defaults where nothing was given."""
        return self.replace(
            interval=self.interval or 30 * 10**9,
            timeout=self.timeout or 30 * 10**9,
            start_interval=self.start_interval or 5 * 10**9,
            retries=self.retries or 3,
        )


class RunRequest(Value):
    """`run` and `create`. `env` entries are `KEY=value` or `KEY` (taken from the caller's environment); `volumes`
    are `source:destination[:options]` as typed; `cpus` is in billionths of a CPU; `restart` is a policy of
    `restart_policy.py`, `restart_max` its most restarts (0: no bound); `starts_later`: the caller will not launch
    it; `systemd` is always, true (where the program is an init), false or boot (`init_system.py`); `pod` names one to
    be in, whose namespaces `infra` is to hold; `replaces`: a container that has the name goes before; `begins` is a
    directory with the disk that its machine begins with (`checkpoints/copies.py`); `command_line`
    is how a command was given, without what says in which way to run. What is asked for more rarely is grouped, in
    modules that are loaded when it is."""

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
    restart: str = "no"
    restart_max: int = 0
    health: Health | None = None
    init: bool = False
    starts_later: bool = False
    annotations: tuple[tuple[str, str], ...] = ()
    log_driver: str | None = None
    log_options: tuple[str, ...] = ()
    systemd: str = "true"
    limits: Limits | None = None
    rights: Rights | None = None
    sharing: Sharing | None = None
    storage: Storage | None = None
    networking: NetworkOptions | None = None
    settled: Networking | None = None
    pod: str = ""
    infra: bool = False
    replaces: bool = False
    begins: str = ""
    umask: int | None = None
    command_line: tuple[str, ...] = ()


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
    """A row of `ps`. `state` is created, running, paused or exited; times are RFC 3339 or None; `ports`, in words,
    and `mounts` are as the list shows them; `health` is None where nothing is checked; `size` (what it wrote) and
    `size_root` (its image's layers too) are counted when they are asked for; `pod` is the id of the one it is in."""

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
    size_root: int | None = None
    volumes: int = 0
    ports: str = ""
    health: str | None = None
    pod: str = ""


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
