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

    from atoll.runtime.cgroups.cgroup import Cgroup

FILE = "state.json"
FIFO = "exec.fifo"
FILTER = "seccomp.bpf"
FOREIGN = "foreign.json"
"""There where another runtime makes and starts the container (`monitor/foreign.py`)."""
CREATING = "creating"
"""A link whose text is the cgroup that is being made: there from the first step of create to the last."""

CREATED, RUNNING, PAUSED, STOPPED = "created", "running", "paused", "stopped"


class State(Value):
    """What is written down at creation. `created` is RFC 3339 UTC; `cgroup` is the cgroup room's own record;
    `seccomp_flags` is None without a filter, else the filter itself lies beside, in `seccomp.bpf`; `hooks` are those
    that run after the creation, as in config.json; `listener` is the path and metadata of a seccomp agent;
    `intel_rdt` is the record of `resctrl.py`."""

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
    rootfs: str | None = None
    hooks: Any = None
    listener: Any = None
    intel_rdt: Any = None


BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """The id of this boot. The kernel draws it when somebody first asks."""
    return files.read_text(BOOT_ID).strip()


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
    """creating, created, running, paused or stopped, from the kernel rather than from memory."""
    pidfd = open_init(state)
    if pidfd is None:
        return STOPPED
    os.close(pidfd)
    if state.cgroup is not None:
        from atoll.runtime.cgroups.cgroup import Cgroup

        if Cgroup.from_json(state.cgroup).frozen():
            return PAUSED
    if os.path.lexists(f"{run}/{CREATING}"):
        return CREATING
    return CREATED if os.path.exists(f"{run}/{FIFO}") else RUNNING


def note_creating(run: str, planned: Cgroup) -> None:
    """Note what is about to be made, in one system call. Raises OSError."""
    text = jsontext.dumps(planned.to_json())
    if len(text) < 4000:  # what a link holds, symlink(7)
        os.symlink(text, f"{run}/{CREATING}")
    else:
        files.write_atomic(f"{run}/{CREATING}", text)


def noted_cgroup(run: str) -> Cgroup | None:
    """The cgroup that a creation was about to make, None if none is under way. Raises Corrupt."""
    from atoll.runtime.cgroups.cgroup import Cgroup

    path = f"{run}/{CREATING}"
    try:
        text = os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError:  # a file
        text = files.read_text(path)
    try:
        return Cgroup.from_json(jsontext.loads(text))
    except ValueError as error:
        raise errors.Corrupt(f"damaged note {path}: {error}") from None


def document(run: str, state: State) -> dict[str, Any]:
    """The state as runtime.md has it, with runc's additions."""
    status = status_of(run, state)
    wire: dict[str, Any] = {
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": 0 if status == STOPPED else state.pid,
        "status": status,
        "bundle": state.bundle,
        "rootfs": state.rootfs or "",
        "created": state.created,
    }
    if state.annotations:
        wire["annotations"] = dict(state.annotations)
    return wire
