"""The record of one container in its run directory, and what the kernel says of it.

Holds: `State`, `read`, `write`, `status_of`. The record names the init by pid, start time and boot id, so that a
reused pid or a reboot is never mistaken for the container (proc_pid_stat(5), random(4)).
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.base.value import Value
from atoll.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "state.json"
FIFO = "exec.fifo"
FILTER = "seccomp.bpf"

CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"


class State(Value):
    """What is written down at creation. `created` is RFC 3339 UTC; `cgroup` is the cgroup room's own record;
    `seccomp_flags` is None without a filter, else the filter itself lies beside, in `seccomp.bpf`."""

    id: str
    pid: int
    start_time: int
    boot_id: str
    bundle: str
    created: str
    oci_version: str
    cgroup: Any = None
    rootless: bool = False
    user_namespace: bool = False
    annotations: tuple[tuple[str, str], ...] = ()
    seccomp_flags: int | None = None


def boot_id() -> str:
    """The id the kernel drew at this boot."""
    return files.read_text("/proc/sys/kernel/random/boot_id").strip()


def now() -> str:
    """This moment as RFC 3339 UTC with nanoseconds."""
    import time

    ns = time.time_ns()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(ns // 10**9))}.{ns % 10**9:09d}Z"


def write(run: str, state: State) -> None:
    """Record a state in the run directory, atomically. Raises OSError."""
    record = {name: getattr(state, name) for name in State.__slots__}  # type: ignore[attr-defined]
    record["annotations"] = dict(state.annotations)
    files.write_atomic(f"{run}/{FILE}", jsontext.dumps(record))


def read(run: str) -> State:
    """The recorded state. Raises NotFound if there is no container there, Corrupt for a damaged record."""
    try:
        record = jsontext.loads(files.read_bytes(f"{run}/{FILE}"))
        record["annotations"] = tuple(record["annotations"].items())
        return State(**record)
    except FileNotFoundError:
        raise errors.NotFound(f"container does not exist: no record in {run}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise errors.Corrupt(f"damaged record {run}/{FILE}: {error}") from None


def open_init(state: State) -> int | None:
    """A pidfd of the container's init, or None if it has ended. The pid is checked *after* the pidfd is held, so
    that a pid reused in between is noticed. Raises OSError."""
    if state.boot_id != boot_id():
        return None
    try:
        pidfd = process.pidfd_open(state.pid)
    except ProcessLookupError:
        return None
    try:
        if process.start_time(state.pid) == state.start_time and not _is_zombie(state.pid):
            return pidfd
    except (FileNotFoundError, ProcessLookupError):
        pass
    os.close(pidfd)
    return None


def _is_zombie(pid: int) -> bool:
    line = files.read_bytes(f"/proc/{pid}/stat")
    return line[line.rindex(b")") + 2 : line.rindex(b")") + 3] in (b"Z", b"X")


def status_of(run: str, state: State) -> str:
    """created, running, paused or stopped, from the kernel rather than from memory."""
    pidfd = open_init(state)
    if pidfd is None:
        return STOPPED
    os.close(pidfd)
    if os.path.exists(f"{run}/{FIFO}"):
        return CREATED
    if state.cgroup is not None:
        from atoll.runtime.cgroups import Cgroup

        if Cgroup.from_json(state.cgroup).frozen():
            return PAUSED
    return RUNNING
