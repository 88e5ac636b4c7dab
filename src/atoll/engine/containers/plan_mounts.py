"""What is mounted in a container: the system's own, the generated files, the user's. Pure.

Holds: `mounts_of`. Does not hold: the grammars (`volumes.py`, `mount_flags.py`), the defaults (`defaults.py`),
mounting (`runtime/rootfs.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers import defaults
from atoll.spec.runtime import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.plan import Facts
    from atoll.engine.containers.record import MountPoint, Record
    from atoll.spec.idmap import RootlessMap

FILES = ("hostname", "hosts", "resolv.conf")


def mounts_of(record: Record, idmap: RootlessMap | None, facts: Facts, bundle: str) -> tuple[Mount, ...]:
    """All of them in their order: a mount below another's place comes after it."""
    base = defaults.mounts(
        shm_size=record.shm_size,
        terminals_group=_has_group(idmap, 5),
        cgroup_read_only=not (record.systemd or _is_privileged(record)),
    )
    if record.sharing is not None or record.rights is not None:
        base = _shared(record, base, user=idmap is not None)
    taken = {mount.destination for mount in record.mounts}
    if taken:
        base = tuple([mount for mount in base if mount.destination not in taken])
    place = bundle
    if record.network.startswith("container:"):  # who is in another's network has its names, too
        place = f"{bundle.rpartition('/')[0]}/{record.network.partition(':')[2]}"
    own = [_bind(f"{place}/{name}", f"/etc/{name}") for name in FILES if f"/etc/{name}" not in taken]
    users = [
        _mount(one, idmapped=idmap is not None and facts.uid == 0) for one in record.mounts if one.type != "image"
    ]
    further: list[Mount] = []
    if record.systemd:
        further = [mount for mount in defaults.SYSTEMD_MOUNTS if mount.destination not in taken]
    if record.rights is not None and record.rights.nodes and idmap is not None:
        from atoll.engine.containers.rights import node_mounts

        users += node_mounts(record.rights)
    if users:  # a volume on /etc is below /etc/hosts
        return (*base, *further, *sorted((*own, *users), key=lambda mount: mount.destination.count("/")))
    return (*base, *own, *further)


def _is_privileged(record: Record) -> bool:
    return record.rights is not None and record.rights.privileged


def _shared(record: Record, base: tuple[Mount, ...], *, user: bool) -> tuple[Mount, ...]:
    """The system's mounts where a namespace behind them is not the container's own."""
    sharing = record.sharing
    ipc, pid = (sharing.ipc, sharing.pid) if sharing is not None else ("", "")
    found = []
    for mount in base:
        if mount.destination == "/dev/shm" and ipc == "none":
            continue
        if mount.destination == "/dev/mqueue" and user and ipc == "host":
            continue  # a queue's file system is of its namespace's owner
        if mount.destination == "/dev/shm" and ipc == "host":
            mount = _bind("/dev/shm", "/dev/shm")
        elif mount.destination == "/dev/shm" and ipc.startswith("container:"):
            mount = _bind(f"{ipc}/dev/shm", "/dev/shm")
        elif mount.destination == "/proc" and pid == "host" and user:
            # A procfs is of a pid namespace, and is only to be had by who owns that: the host's own is shown.
            options = ("rbind", "rslave", "nosuid", "noexec", "nodev")
            mount = Mount(destination="/proc", type="bind", source="/proc", options=options)
        elif mount.destination == "/sys" and _is_privileged(record):
            mount = mount.replace(options=tuple([option for option in mount.options if option != "ro"]))
        found.append(mount)
    return tuple(found)


def _has_group(idmap: RootlessMap | None, group: int) -> bool:
    return idmap is None or any(m.inside <= group < m.inside + m.count for m in idmap.gid_map)


def _bind(source: str, destination: str) -> Mount:
    return Mount(destination=destination, type="bind", source=source, options=("bind", "rprivate"))


def _mount(mount: MountPoint, *, idmapped: bool) -> Mount:
    options = mount.options
    if mount.filesystem:
        options = (*options, *(("ro",) if mount.read_only else ()))
        return Mount(
            destination=mount.destination,
            type=mount.filesystem,
            source=mount.device or mount.filesystem,
            options=options,
        )
    if mount.type in ("tmpfs", "devpts"):
        options = (*options, *(("ro",) if mount.read_only else ()))
        return Mount(destination=mount.destination, type=mount.type, source=mount.type, options=options)
    bind = "bind" if mount.recursive == "disabled" else "rbind"
    options = (bind, mount.propagation, *options)
    if mount.read_only:
        options = (*options, "ro", *(("rro",) if mount.recursive in ("enabled", "readonly") else ()))
    if idmapped:
        # Root gave this path to a container whose root is a stranger on the host: there it is to be root's.
        options = (*options, mount.idmap or "idmap")
    if mount.copy and mount.type == "volume":
        options = (*options, "copyup")
    if mount.subpath:
        if "," in mount.subpath:
            raise errors.InvalidArgument(f"subpath {mount.subpath!r}: a comma is not possible here")
        options = (*options, f"subpath={mount.subpath}")
    return Mount(destination=mount.destination, type="bind", source=mount.source, options=options)
