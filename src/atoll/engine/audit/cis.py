"""audit --cis: this host, its images and containers by the sections of the CIS Docker Benchmark (1.6) that apply.

Holds: the checks and `score`. Does not hold: sections 2 and 3 (a daemon's settings and files: there is no daemon) and
7 (Swarm). PASS and WARN count; INFO is a choice of the user's that the benchmark wants thought about. A container is
judged by its record: what it was made with.
"""

from __future__ import annotations

import os

from atoll.base.value import Value
from atoll.engine.audit.security import STRONG
from atoll.engine.containers.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine

    Test = Callable[[Record], bool]

PASS, WARN, INFO = "PASS", "WARN", "INFO"


class Result(Value):
    """One check: its section, title, outcome, and whom it concerns."""

    section: str
    title: str
    outcome: str
    details: tuple[str, ...] = ()


def _pid(record: Record, word: str) -> bool:
    return record.sharing is not None and getattr(record.sharing, word) == "host"


def _sensitive(record: Record) -> bool:
    places = ("/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr")
    return any(
        m.type == "bind" and not m.read_only and (m.source.rstrip("/") or "/") in places for m in record.mounts
    )


# (section, title, what to do about a container for which it does not hold, whether it holds)
CONTAINER: tuple[tuple[str, str, str, Test], ...] = (
    ("5.4", "Linux kernel capabilities are restricted", WARN,
     lambda r: not set(r.capabilities) & set(STRONG)),
    ("5.5", "Privileged containers are not used", WARN, lambda r: r.rights is None or not r.rights.privileged),
    ("5.6", "Sensitive host system directories are not mounted", WARN, lambda r: not _sensitive(r)),
    ("5.7", "sshd is not run within containers", WARN, lambda r: r.args[0].rpartition("/")[2] != "sshd"),
    ("5.10", "The host's network namespace is not shared", WARN, lambda r: r.network != "host"),
    ("5.11", "The memory usage for containers is limited", INFO, lambda r: bool(r.memory)),
    ("5.12", "CPU priority is set appropriately", INFO,
     lambda r: bool(r.cpus) or (r.limits is not None and bool(r.limits.cpu_shares))),
    ("5.13", "The container's root filesystem is mounted as read only", INFO, lambda r: r.read_only),
    ("5.15", "The 'on-failure' restart policy is set to 5 at most", WARN,
     lambda r: r.restart != "on-failure" or 0 < r.restart_max <= 5),
    ("5.16", "The host's process namespace is not shared", WARN, lambda r: not _pid(r, "pid")),
    ("5.17", "The host's IPC namespace is not shared", WARN, lambda r: not _pid(r, "ipc")),
    ("5.18", "Host devices are not directly exposed to containers", INFO,
     lambda r: r.rights is None or not r.rights.nodes),
    ("5.20", "Mount propagation mode is not set to shared", WARN,
     lambda r: all(m.propagation not in ("shared", "rshared") for m in r.mounts)),
    ("5.21", "The host's UTS namespace is not shared", WARN, lambda r: not _pid(r, "uts")),
    ("5.22", "The default seccomp profile is not disabled", WARN, lambda r: r.seccomp != "unconfined"),
    ("5.26", "The container is restricted from acquiring additional privileges", WARN, lambda r: r.no_new_privileges),
    ("5.27", "Container health is checked at runtime", INFO, lambda r: r.health is not None),
    ("5.29", "The PIDs cgroup limit is used", WARN, lambda r: bool(r.pids_limit)),
    ("5.31", "The host's user namespaces are not shared", INFO, lambda r: r.user_namespace),
    ("5.32", "No engine's socket is mounted inside any containers", WARN,
     lambda r: not any(m.source.endswith(("docker.sock", "containerd.sock", "podman.sock")) for m in r.mounts)),
)  # fmt: skip


def score(engine: Engine) -> list[Result]:
    """All results, in the order of the benchmark. Raises what reading the store does."""
    records = [(row.name, Record.from_text(row.record)) for row in engine.store.containers()]
    return [*_host(engine), *_images(engine), *_containers(records), *_operations(engine, records)]


def _host(engine: Engine) -> list[Result]:
    data = os.stat(engine.paths.data)
    own = os.path.ismount(engine.paths.data) or data.st_dev != os.stat("/").st_dev
    closed = not data.st_mode & 0o022 and data.st_uid == engine.uid
    title = f"A separate partition for containers ({engine.paths.data})"
    return [
        Result(section="1.1.1", title=title, outcome=PASS if own else INFO),
        Result(
            section="1.1.3",
            title="Nobody else may write to the engine's files",
            outcome=PASS if closed else WARN,
            details=() if closed else (engine.paths.data,),
        ),
    ]


def _images(engine: Engine) -> list[Result]:
    from atoll.spec.image import parse_config

    root: list[str] = []
    unchecked: list[str] = []
    for row in engine.store.images():
        names = [tag.reference for tag in engine.store.tags(row.id)] or [row.id[7:19]]
        config = parse_config(row.config.encode(), names[0]).config
        if config.user.partition(":")[0] in ("", "0", "root"):
            root += names[:1]
        if config.healthcheck is None:
            unchecked += names[:1]
    return [
        _about("4.1", "Images name a user for the container", INFO, root),
        _about("4.6", "HEALTHCHECK instructions have been added to images", INFO, unchecked),
    ]


def _containers(records: list[tuple[str, Record]]) -> list[Result]:
    return [
        _about(section, title, outcome, [name for name, record in records if not holds(record)])
        for section, title, outcome, holds in CONTAINER
    ]


def _operations(engine: Engine, records: list[tuple[str, Record]]) -> list[Result]:
    images = len(engine.store.images())
    used = len({record.image for _, record in records})
    outcome = INFO if images > 2 * used + 10 else PASS
    details = (f"{images} images, {used} used",) if outcome == INFO else ()
    ended = [name for name, record in records if record.remove]
    return [
        Result(section="6.1", title="Image sprawl is avoided", outcome=outcome, details=details),
        Result(
            section="6.2",
            title="Container sprawl is avoided",
            outcome=PASS if len(records) - len(ended) < 100 else INFO,
        ),
    ]


def _about(section: str, title: str, outcome: str, concerned: list[str]) -> Result:
    return Result(section=section, title=title, outcome=outcome if concerned else PASS, details=tuple(concerned))
