"""Where a container's cgroups lie: `linux.cgroupsPath` against each hierarchy.

Holds: `clean`, `default_path`, `directories`, `base_directory`. Does not hold: making them, nor the form
`slice:prefix:name`, which `units.py` turns into a path.
Source: runtime-spec config-linux.md, "Cgroups Path": an absolute path counts from the mount point, a relative
one from where the runtime decides; as runc does, that is the runtime's own cgroup in each hierarchy.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.runtime.cgroups.detect import Hierarchy, Mount, join

DEFAULT_PARENT = "/atoll"
_NAME_MAX = 255


def clean(path: str) -> str:
    """The path without doubled slashes. Raises InvalidArgument for one that would leave the hierarchy, or that no
    cgroup can have."""
    parts = [part for part in path.split("/") if part and part != "."]
    if ".." in parts:
        raise errors.InvalidArgument(f"cgroup path {path!r} climbs with '..'", hint="name the cgroup from the top")
    if not parts:
        raise errors.InvalidArgument(f"cgroup path {path!r} names no cgroup below the top")
    for part in parts:
        if "\n" in part or "\0" in part or len(os.fsencode(part)) > _NAME_MAX:
            raise errors.InvalidArgument(f"cgroup path {path!r} has a part that cannot name a cgroup")
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def default_path(container_id: str, *, parent: str | None = None, rootless: bool = False) -> str:
    """The path a container gets if nobody says: `/atoll/<id>`, `<parent>/<id>`; rootless without a parent,
    `atoll-<id>` below the user's own cgroup."""
    if parent is not None:
        return clean(f"{parent}/{container_id}")
    return f"atoll-{container_id}" if rootless else f"{DEFAULT_PARENT}/{container_id}"


def directories(path: str, hierarchy: Hierarchy) -> tuple[list[tuple[Mount, str]], str | None]:
    """The v1 directories and the unified one for a clean path. A hierarchy in which this process's own cgroup is
    out of sight has no place for a relative path and is left out."""
    v1 = [(mount, place) for mount in hierarchy.v1 if (place := _place(mount, path)) is not None]
    unified = None
    if hierarchy.unified is not None:
        unified = _place(hierarchy.unified, path, unified=True)
    return v1, unified


def base_directory(mount: Mount, parent: str | None, *, unified: bool = False) -> str | None:
    """The existing directory below which containers are put: `parent`, or this process's own cgroup."""
    if parent is not None and parent.startswith("/"):
        return join(mount.path, parent.strip("/"))
    if mount.own is None:
        return None
    own = join(mount.path, mount.own)
    base = _inner_ancestor(own, mount.path) if unified else own
    return f"{base}/{parent}" if parent else base


def _place(mount: Mount, path: str, *, unified: bool = False) -> str | None:
    if path.startswith("/"):
        return mount.path + path
    base = base_directory(mount, None, unified=unified)
    return None if base is None else f"{base}/{path}"


def _inner_ancestor(own: str, top: str) -> str:
    """For v2: the nearest of our cgroup and its ancestors that holds no process and that we may write, so that
    controllers can be handed down below it ("no internal processes", cgroups(7)); our own cgroup if none is."""
    place = own
    while len(place) > len(top) and os.access(place, os.W_OK | os.X_OK):
        try:
            fd = os.open(f"{place}/cgroup.procs", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if not os.read(fd, 1):
                    return place
            finally:
                os.close(fd)
        except OSError:
            break
        place = place[: place.rindex("/")]
    return own
