"""checkpoint: the processes of a running container become images; then it is gone, unless it is to go on.

Holds: `checkpoint`, `Wanted`. Does not hold: the conversation (`rpc.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.base.rollback import Rollback
from atoll.base.value import Value
from atoll.runtime import prepare, state
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.runtime.cgroups.detect import detect
from atoll.runtime.criu import external, rpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.spec.runtime import Spec


class Wanted(Value):
    """The options of `checkpoint` and `restore`, as runc's. `images` and `work` are directories, `empty_ns` CLONE_NEW
    flags, `cgroup_mode` one of `rpc.MODES`."""

    images: str
    work: str
    parent: str | None = None
    leave_running: bool = False
    pre_dump: bool = False
    tcp_established: bool = False
    tcp_close: bool = False
    tcp_skip_in_flight: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    link_remap: bool = False
    lazy_pages: bool = False
    status_fd: int | None = None
    page_server: tuple[str, int] | None = None
    auto_dedup: bool = False
    empty_ns: int = 0
    cgroup_mode: int | None = None
    lsm_profile: str | None = None
    lsm_mount_context: str | None = None


def checkpoint(run: str, spec: Spec, wanted: Wanted, program: str | None) -> None:
    """Save a container. Raises FailedPrecondition for one that does not run or that CRIU cannot save, Unsupported
    with what blocks CRIU here."""
    record = state.read(run)
    status = state.status_of(run, record)
    if status not in (state.RUNNING, state.PAUSED, state.CREATED):
        raise errors.FailedPrecondition(f"Container cannot be checkpointed in {status} state")
    if record.rootless:
        raise errors.Unsupported("cannot checkpoint rootless containers")
    rpc.preflight(program)
    cgroup = Cgroup.from_json(record.cgroup) if record.cgroup is not None else None
    with Rollback() as undo:
        options = options_of(wanted, undo)
        options |= {
            "pid": record.pid,
            "root": record.rootfs,
            "log_file": "dump.log",
            "leave_running": wanted.leave_running,
            "link_remap": wanted.link_remap,
            "freeze_cgroup": cgroup.freezer_directory() if cgroup is not None else None,
            "external": external.dumped(spec),
        }
        if wanted.pre_dump:
            options["track_mem"] = True
        else:
            found = _mounts(spec, record)
            options["ext_mnt"] = [{1: inside, 2: inside} for inside, _ in found]
            external.note_descriptors(wanted.images, record.pid)
        criu = rpc.Criu(program)
        undo.push(criu.close)
        criu.request(rpc.PRE_DUMP if wanted.pre_dump else rpc.DUMP, options)


def _mounts(spec: Spec, record: state.State) -> list[tuple[str, str]]:
    cgroups = prepare.cgroup_mounts_of(
        spec, detect(), Cgroup.from_json(record.cgroup) if record.cgroup else Cgroup(path="/"), 0, ()
    )
    return external.mounts(spec, record.bundle, cgroups, record.rootfs or "")


def options_of(wanted: Wanted, undo: Rollback) -> dict[str, Any]:
    """What dump and restore share. Raises AtollError."""
    options: dict[str, Any] = {
        "images_dir_fd": open_directory(wanted.images, undo),
        "work_dir_fd": open_directory(wanted.work, undo),
        "log_level": 4,
        "notify_scripts": True,
        "manage_cgroups": True,
        "manage_cgroups_mode": wanted.cgroup_mode,
        "orphan_pts_master": True,
        "parent_img": wanted.parent,
        "tcp_established": wanted.tcp_established,
        "tcp_close": wanted.tcp_close or None,
        "tcp_skip_in_flight": wanted.tcp_skip_in_flight or None,
        "ext_unix_sk": wanted.ext_unix_sk,
        "shell_job": wanted.shell_job,
        "file_locks": wanted.file_locks,
        "auto_dedup": wanted.auto_dedup,
        "lazy_pages": wanted.lazy_pages or None,
        "status_fd": wanted.status_fd,
        "empty_ns": wanted.empty_ns or None,
    }
    if wanted.page_server is not None:
        options["ps"] = {1: wanted.page_server[0], 2: wanted.page_server[1]}
    return options


def open_directory(path: str, undo: Rollback) -> int:
    """Make a directory if need be, and open it for CRIU, which looks it up in its parent's descriptors. Raises
    AtollError."""
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.from_os_error(error, f"open the directory {path}") from error
    undo.push(os.close, fd)
    return fd
