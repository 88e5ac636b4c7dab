"""pause and resume: every process of a container's cgroup stands still, and goes on."""

from __future__ import annotations

from atoll.base import errors
from atoll.runtime import state
from atoll.runtime.cgroups.cgroup import Cgroup


def pause(run: str) -> None:
    """Freeze a created or running container; returns when all of it stands still.

    Raises NotFound, FailedPrecondition for another state, Unsupported or Denied without a freezer, Timeout.
    """
    record = state.read(run)
    status = state.status_of(run, record)
    if status not in (state.RUNNING, state.CREATED):
        raise errors.FailedPrecondition(f"container not running or created: {status}")
    _cgroup_of(record).freeze()


def resume(run: str) -> None:
    """Let a paused container go on. Raises NotFound, FailedPrecondition if it is not paused."""
    record = state.read(run)
    if state.status_of(run, record) != state.PAUSED:
        raise errors.FailedPrecondition("container not paused")
    _cgroup_of(record).thaw()


def _cgroup_of(record: state.State) -> Cgroup:
    if record.cgroup is None:
        raise errors.Unsupported(
            f"container {record.id} has no cgroup to freeze", hint="delegate a cgroup subtree to this user"
        )
    return Cgroup.from_json(record.cgroup)
