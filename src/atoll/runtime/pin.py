"""Sources of a root plan that the container's own user may not reach, opened by who may.

Holds: `pin_root` and `pin_mounts` (before the clone, by root). Does not hold: mounting (`rootfs.py`).
A mapped root is a stranger on the host: a source below a directory that is closed to others (a home) cannot be
found by it, though the caller named it. Only the way there is opened, not what lies in it: the source's own
permissions count inside as ever.
"""

from __future__ import annotations

import os

from atoll.linux import mount as m
from atoll.runtime import mount_options
from atoll.spec.rootfs import Bind, RootPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import Mount

PINNED = "\0fd:"
"""Begins a source that is the descriptor of a detached mount. No document can hold it: NUL is refused in every text."""


def pin_root(plan: RootPlan, held: list[int]) -> RootPlan:
    """The plan with each bind source as a detached mount: its descriptor survives the clone, and move_mount(2) is
    all that the child needs to do with it. Needs CAP_SYS_ADMIN here. `held` gets the descriptors. Raises OSError."""
    steps = []
    for step in plan.steps:
        if isinstance(step, Bind):
            try:
                step = step.replace(source=_pin(step.source, recursive=step.recursive, held=held))
            except FileNotFoundError:
                if not step.optional:
                    raise
        steps.append(step)
    return RootPlan(steps=tuple(steps))


def pin_mounts(mounts: tuple[Mount, ...], bundle: str, held: list[int]) -> tuple[Mount, ...]:
    """The same for `mounts` of config.json, relative sources below `bundle`. Raises OSError."""
    pinned = []
    for entry in mounts:
        options = mount_options.parse(entry.options)
        if options.bind or entry.type == "bind":
            source = os.path.join(bundle, entry.source or "")
            entry = entry.replace(source=_pin(source, recursive=options.recursive, held=held))
        pinned.append(entry)
    return tuple(pinned)


def _pin(source: str, *, recursive: bool, held: list[int]) -> str:
    fd = m.open_tree(source, m.OPEN_TREE_CLONE | (m.AT_RECURSIVE if recursive else 0))
    held.append(fd)
    return f"{PINNED}{fd}"
