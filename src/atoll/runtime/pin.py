"""Sources of a root plan that the container's own user may not reach, opened by who may.

Holds: `pin_detached` (before the clone, by root), `pin_opened` (in the clone, before it becomes root of its user
namespace). Does not hold: mounting (`rootfs.py`).
A mapped root is a stranger on the host: a source below a directory that is closed to others (a home) cannot be
found by it, though the caller named it. Only the way there is opened, not what lies in it: the source's own
permissions count inside as ever.
"""

from __future__ import annotations

import os

from atoll.linux import mount as m
from atoll.spec.rootfs import Bind, RootPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PINNED = "fd:"


def pin_detached(plan: RootPlan, held: list[int]) -> RootPlan:
    """The plan with each bind source as a detached mount: its descriptor survives the clone, and move_mount(2) is
    all that the child needs to do with it. Needs CAP_SYS_ADMIN here. `held` gets the descriptors. Raises OSError."""

    def pin(step: Bind) -> str:
        fd = m.open_tree(step.source, m.OPEN_TREE_CLONE | (m.AT_RECURSIVE if step.recursive else 0))
        held.append(fd)
        return f"{PINNED}{fd}"

    return _with_sources(plan, pin)


def pin_opened(plan: RootPlan, held: list[int]) -> RootPlan:
    """The plan with each bind source as a descriptor of this process, opened while it still is the caller on the
    host, in the mount namespace that the mounts will be made in. Raises OSError."""

    def pin(step: Bind) -> str:
        fd = os.open(step.source, os.O_PATH | os.O_CLOEXEC)
        held.append(fd)
        return f"/proc/self/fd/{fd}"

    return _with_sources(plan, pin)


def _with_sources(plan: RootPlan, pin: Callable[[Bind], str]) -> RootPlan:
    steps = []
    for step in plan.steps:
        if isinstance(step, Bind) and not step.source.startswith((PINNED, "/proc/self/fd/")):
            try:
                step = step.replace(source=pin(step))
            except FileNotFoundError:
                if not step.optional:
                    raise
        steps.append(step)
    return RootPlan(steps=tuple(steps))
