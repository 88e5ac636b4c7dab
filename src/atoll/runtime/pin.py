"""Sources of mounts that the container's own user may not reach, opened by who may.

Holds: `pin_root` and `pin_mounts`, with two ways to open: `Detached` (before the clone, by root) or `Opened`
(in the clone, by an ordinary user, before it becomes root of its user namespace). Not: mounting (`rootfs.py`).
A mapped root is a stranger on the host: a source below a directory that is closed to others (a home, Atoll's own
store) cannot be found by it, though the caller named it. Only the way there is opened, not what lies in it: the
source's own permissions count inside as ever.
"""

from __future__ import annotations

import os

from atoll.linux import mount as m
from atoll.runtime import mount_options
from atoll.spec.rootfs import IN_ROOT, Bind, Overlay, RootPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.spec.runtime import Mount

    Way = Callable[[str, bool], str]

PINNED = "\0fd:"
"""Begins a source that is the descriptor of a detached mount. No document can hold it: texts with NUL are refused."""


class Detached:
    """Each source as a detached mount: its descriptor survives the clone, and move_mount(2) is all that the child
    needs to do with it. Needs CAP_SYS_ADMIN here."""

    def __init__(self, held: list[int]) -> None:
        self.held = held

    def __call__(self, source: str, recursive: bool) -> str:
        """The source's new name; `held` gets the descriptor. Raises OSError."""
        fd = m.open_tree(source, m.OPEN_TREE_CLONE | (m.AT_RECURSIVE if recursive else 0))
        self.held.append(fd)
        return f"{PINNED}{fd}"


class Opened:
    """Each source as a descriptor of this process, in the mount namespace that the mounts will be made in."""

    def __init__(self, held: list[int]) -> None:
        self.held = held

    def __call__(self, source: str, recursive: bool) -> str:
        """The source's new name; `held` gets the descriptor. Raises OSError."""
        fd = os.open(source, os.O_PATH | os.O_CLOEXEC)
        self.held.append(fd)
        return f"/proc/self/fd/{fd}"


def pin_root(plan: RootPlan, way: Way) -> RootPlan:
    """The plan with each bind source opened, and with `Opened` the layers of overlays. Raises OSError."""
    steps = []
    for step in plan.steps:
        if isinstance(step, Bind) and not step.source.startswith(PINNED):
            try:
                step = step.replace(source=way(step.source, step.recursive))
            except FileNotFoundError:
                if not step.optional:
                    raise
        elif isinstance(step, Overlay) and isinstance(way, Opened):
            step = _opened_layers(step, way)
        steps.append(step)
    return RootPlan(steps=tuple(steps))


def _opened_layers(step: Overlay, way: Opened) -> Overlay:
    """Layers below a directory that is closed to others, for a mapped root that is not their owner."""

    def opened(path: str | None) -> str | None:
        return path if path is None or path.startswith(IN_ROOT) else way(path, False)

    return step.replace(
        lower=tuple([opened(path) for path in step.lower]), upper=opened(step.upper), work=opened(step.work)
    )


def pin_mounts(mounts: tuple[Mount, ...], bundle: str, way: Way) -> tuple[Mount, ...]:
    """The same for `mounts` of config.json, relative sources below `bundle`. Raises OSError."""
    pinned = []
    for entry in mounts:
        options = mount_options.parse(entry.options)
        source = entry.source or ""
        other = source.startswith("/proc/") and "/root/" in source  # another container's: `prepare` has its tree
        if (options.bind or entry.type == "bind") and not other and not source.startswith(PINNED):
            entry = entry.replace(source=way(os.path.join(bundle, entry.source or ""), options.recursive))
        pinned.append(entry)
    return tuple(pinned)
