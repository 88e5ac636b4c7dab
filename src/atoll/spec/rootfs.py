"""A container's root as data: what to mount, in order, inside its own new mount namespace.

Holds: the steps and their JSON. Does not hold: mounting (`runtime/rootfs.py` executes a plan), or deciding what
a root is made of (`snapshots`, `images/host.py`).
The root never is a path already mounted on the host: the container's init mounts it where only the container
sees it, and it goes with that namespace, so nothing is ever "busy" and nothing is left mounted.

Targets are absolute paths inside the new root; parents are made when the step below them is a file system of the
plan's own.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value, fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# A layer of an overlay may lie in the root that is being built: "root:/path", found by the root handle.
IN_ROOT = "root:"


class Overlay(Value):
    """An overlay mount. `lower` is topmost first (as the kernel's option); without `upper` it is read-only. Layers
    are host paths, or `root:/path` for what earlier steps made; `root:<target>` is what the mount will cover.
    `mapped`: the layers are kept for the host's own ids, and are to be shown through the container's id map."""

    lower: tuple[str, ...]
    upper: str | None = None
    work: str | None = None
    target: str = "/"
    userxattr: bool = False
    volatile: bool = False
    mapped: bool = False


class FuseOverlay(Value):
    """What an `Overlay` is, shown by a process: fuse-overlayfs (`runtime/served.py`). For those to whom the kernel
    gives no overlay; `lower`, `upper` and `work` are host paths, as there, and `volatile` means the same."""

    lower: tuple[str, ...]
    upper: str | None = None
    work: str | None = None
    target: str = "/"
    volatile: bool = False


class Bind(Value):
    """A bind mount of a host path; with `optional`, a source that is not there is passed over."""

    source: str
    target: str
    read_only: bool = False
    recursive: bool = True
    optional: bool = False


class Tmpfs(Value):
    """A tmpfs; `size` in bytes, None for half the memory (the kernel's default)."""

    target: str
    mode: int = 0o755
    size: int | None = None


class Symlink(Value):
    """A symbolic link at `target` that reads `link`, e.g. `/bin` -> `usr/bin`."""

    target: str
    link: str


class Mask(Value):
    """Hide what is at `target`: a directory under an empty read-only tmpfs, a file under an empty one. What is
    not there is passed over."""

    target: str


class Directory(Value):
    """A directory that must be there."""

    target: str
    mode: int = 0o755


class Whiteout(Value):
    """A whiteout in the upper directory of an overlay that a later step mounts: its name is absent in there."""

    target: str


class Detach(Value):
    """Unmount what an earlier step mounted; overlays that use it keep it alive, out of everyone's reach."""

    target: str


RootStep = Overlay | FuseOverlay | Bind | Tmpfs | Symlink | Mask | Directory | Whiteout | Detach

_STEPS: dict[str, type[Value]] = {
    "overlay": Overlay,
    "fuse-overlay": FuseOverlay,
    "bind": Bind,
    "tmpfs": Tmpfs,
    "symlink": Symlink,
    "mask": Mask,
    "directory": Directory,
    "whiteout": Whiteout,
    "detach": Detach,
}
_NAMES = {cls: name for name, cls in _STEPS.items()}


class RootPlan(Value):
    """The steps that make a root, first to last; the first one mounts `/`."""

    steps: tuple[RootStep, ...]

    def to_json(self) -> list[dict[str, Any]]:
        """The wire form: one object a step, its kind under `step`."""
        return [{"step": _NAMES[type(s)], **{f: getattr(s, f) for f in fields(s)}} for s in self.steps]

    @staticmethod
    def from_json(wire: Any) -> RootPlan:
        """Parse the wire form. Raises InvalidArgument."""
        try:
            return RootPlan(steps=tuple(_step(item) for item in wire))
        except (TypeError, KeyError, AttributeError) as error:
            raise errors.InvalidArgument(f"malformed root plan: {error}") from None


def _step(item: dict[str, Any]) -> RootStep:
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in item.items() if k != "step"}
    return _STEPS[item["step"]](**values)  # type: ignore[return-value]
