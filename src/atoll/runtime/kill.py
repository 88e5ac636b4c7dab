"""kill: a signal to the container's init, or to every process in its cgroup."""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.linux import process
from atoll.runtime import state
from atoll.runtime.cgroups.cgroup import Cgroup


def kill(run: str, signum: int, *, all: bool = False) -> None:
    """Send `signum`. With `all`, to each process of the cgroup (SIGKILL by `cgroup.kill` where there is one).

    Raises NotFound for no container, FailedPrecondition for one that has stopped (unless `all`).
    """
    record = state.read(run)
    if all and record.cgroup is not None:
        _kill_all(Cgroup.from_json(record.cgroup), signum)
        return
    pidfd = state.open_init(record)
    if pidfd is None:
        if all:
            return
        raise errors.FailedPrecondition(f"container {record.id} is not running")
    try:
        process.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        raise errors.FailedPrecondition(f"container {record.id} is not running") from None
    except OSError as error:
        raise errors.from_os_error(error, f"send signal {signum} to container {record.id}") from error
    finally:
        os.close(pidfd)


def _kill_all(cgroup: Cgroup, signum: int) -> None:
    if signum == process.SIGKILL:
        cgroup.kill()
        return
    for pid in cgroup.pids():
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            continue
