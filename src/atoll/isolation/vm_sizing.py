"""Other limits for a container in a machine of its own: what the guest keeps, and what is kept around the machine.

Holds: `update`, `size_for`. Does not hold: the keeper's and the guest's part (`guest/sizing.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.guest import member
from atoll.isolation.vm_saving import connected
from atoll.spec import codec
from atoll.spec.runtime import Resources

BESIDE = 96
"""MiB that a guest needs beside what its container may use: kernel, agent."""
SMALLEST = 160
"""MiB that no guest is brought below."""


def size_for(limit: int) -> int:
    """MiB of a machine whose container may use `limit` bytes."""
    return max(SMALLEST, (limit >> 20) + BESIDE)


def update(run: str, resources: Resources) -> Resources:
    """Have the machine of `run` and its guest keep the limits of memory and processes; the rest, which is the
    cgroup's around the machine. Raises FailedPrecondition for more memory than the machine began with, Unavailable,
    Timeout."""
    from atoll.runtime import state

    rest = resources.replace(memory=None, pids=None)
    if resources.memory is None and resources.pids is None:
        return rest
    memory = resources.memory
    if memory is not None:
        memory = memory.replace(swap=None, swappiness=None, kernel=None)  # a guest has no swap
    inside = Resources(memory=memory, pids=resources.pids)
    limit = memory.limit if memory is not None else None
    pid = state.read(run).pid
    if pid is None:
        raise errors.FailedPrecondition("the machine has ended")
    wanted = {"memory": size_for(limit) if limit is not None and limit > 0 else None, "limits": codec.dump(inside)}
    member.asked(connected(pid), {"size": wanted}, "machine")
    return rest
