"""What a mount of type `cgroup` shows inside: cgroup v2 alone, or every hierarchy of a v1 or hybrid host.

Holds: `plan`, and `owner`: to whom a cgroup that may be written belongs. Pure. Does not hold: mounting (`rootfs.py`).
Source: config-linux.md "Default Filesystems" and "Cgroup ownership", and runc's layout below `/sys/fs/cgroup`, which
programs inside expect.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.runtime.plan import CgroupMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.cgroups.cgroup import Cgroup
    from atoll.runtime.cgroups.detect import Hierarchy
    from atoll.spec.runtime import Spec


def plan(hierarchy: Hierarchy, cgroup: Cgroup | None, *, namespace: bool) -> tuple[CgroupMount, ...]:
    """The hierarchies to show. With a cgroup `namespace` of its own a new mount shows the container's part alone;
    without, its directory is bound. Raises Unsupported on a host without cgroups."""
    if hierarchy.unified is not None and not hierarchy.v1:
        return (_unified("", hierarchy, cgroup, namespace=namespace),)
    if not hierarchy.v1:
        raise errors.Unsupported("a mount of type cgroup: this host has no cgroup file system mounted")
    places = dict(cgroup.v1) if cgroup is not None else {}
    found = []
    for mount in hierarchy.v1:
        name = mount.path.rstrip("/").rpartition("/")[2]
        bind = None if namespace else places.get(mount.controllers, _own(mount.path, mount.own))
        single = [one for one in mount.controllers if "=" not in one]
        found.append(
            CgroupMount(
                name=name,
                fstype="cgroup",
                options=tuple([_option(one) for one in mount.controllers]),
                aliases=tuple([one for one in single if one != name]) if len(single) > 1 else (),
                bind=bind,
            )
        )
    if hierarchy.unified is not None:
        found.append(_unified("unified", hierarchy, cgroup, namespace=namespace))
    return tuple(found)


def owner(spec: Spec, hierarchy: Hierarchy, *, namespace: bool) -> int | None:
    """The host's uid of the process, if its cgroup is to be handed to it (config-linux.md, "Cgroup ownership"): on
    cgroup v2, with a cgroup `namespace` and a user namespace of its own and /sys/fs/cgroup mounted to be written."""
    if hierarchy.v1 or not namespace or spec.linux is None or spec.process is None:
        return None
    places = [entry for entry in spec.mounts if entry.type == "cgroup" and entry.destination == "/sys/fs/cgroup"]
    if not places or "ro" in places[-1].options:
        return None
    uid = spec.process.user.uid
    for line in spec.linux.uid_mappings:
        if line.container_id <= uid < line.container_id + line.size:
            return line.host_id + uid - line.container_id
    return None


def _unified(name: str, hierarchy: Hierarchy, cgroup: Cgroup | None, *, namespace: bool) -> CgroupMount:
    assert hierarchy.unified is not None
    place = cgroup.unified if cgroup is not None else None
    bind = None if namespace else place or _own(hierarchy.unified.path, hierarchy.unified.own)
    return CgroupMount(name=name, fstype="cgroup2", bind=bind)


def _own(top: str, own: str | None) -> str:
    return f"{top}/{own}" if own else top


def _option(controller: str) -> tuple[str, str | None]:
    key, equals, value = controller.partition("=")
    return (key, value) if equals else (key, None)
