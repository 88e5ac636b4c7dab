"""Doctor's look at where layers and data lie: overlay, id-mapped mounts, space."""

from __future__ import annotations

import os

from atoll.base import files, ids
from atoll.engine.doctor.findings import GOOD, NOTE, POOR, Finding
from atoll.engine.doctor.trials import as_ordinary, attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.doctor.findings import Host

_LITTLE_BYTES = 2 << 30
_LITTLE_SHARE = 0.05


def storage(host: Host, data_root: str) -> list[Finding]:
    """Tried on the very file system of the data root; nothing stays there."""
    place = f"{data_root}/doctor-{ids.new_id()[:12]}"
    os.mkdir(place, 0o700)
    try:
        for name in ("lower", "upper", "work", "root"):
            os.mkdir(f"{place}/{name}")
        found = [_overlay(host, place)]
        if host.uid == 0:
            found.append(_idmapped(place))
        return [*found, *_space(data_root)]
    finally:
        files.remove_tree(place)


def _overlay(host: Host, place: str) -> Finding:
    def act() -> None:
        from atoll.linux import mount as m
        from atoll.linux import process
        from atoll.linux.overlay import attach_overlay

        if host.uid:
            as_ordinary(process.CLONE_NEWNS)
        else:
            process.unshare(process.CLONE_NEWNS)
        m.set_propagation("/", m.MS_REC | m.MS_PRIVATE)
        target = os.open(f"{place}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        attach_overlay([f"{place}/lower"], f"{place}/upper", f"{place}/work", target, userxattr=host.uid != 0)
        files.write_file(f"{place}/root/file", "trial", flags=os.O_WRONLY | os.O_CREAT)
        os.mkdir(f"{place}/root/directory")
        os.unlink(f"{place}/root/file")

    said = attempt(act)
    if said is None:
        kind = "with user.* attributes" if host.uid else "native"
        return Finding(area="storage", title="overlay", outcome=GOOD, said=f"works on the data root, {kind}")
    fuse = host.program("fuse-overlayfs") is not None and host.exists("/dev/fuse")
    instead = "fuse-overlayfs can be used" if fuse else "containers get full copies of layers"
    return Finding(
        area="storage",
        title="overlay",
        outcome=POOR,
        said=f"refused on the data root ({said}): {instead}",
        fix="modprobe overlay" if "No such device" in said else "put the data root on ext4, xfs, btrfs or tmpfs",
    )


def _idmapped(place: str) -> Finding:
    def act() -> None:
        from atoll.linux import mount as m
        from atoll.linux import process
        from atoll.runtime.idmap import user_namespace
        from atoll.spec.runtime import IDMapping

        process.unshare(process.CLONE_NEWNS)
        ids = (IDMapping(container_id=0, host_id=100000, size=65536),)
        m.mount_setattr(m.open_tree(place), set=m.MOUNT_ATTR_IDMAP, userns_fd=user_namespace(ids, ids))

    said = attempt(act)
    return Finding(
        area="storage",
        title="id-mapped mounts",
        outcome=GOOD if said is None else NOTE,
        said="work on the data root" if said is None else f"refused ({said}): layers are copied once per id map",
    )


def _space(data_root: str) -> list[Finding]:
    free = os.statvfs(data_root)
    left, total = free.f_bavail * free.f_frsize, free.f_blocks * free.f_frsize
    little = left < _LITTLE_BYTES or (total and left / total < _LITTLE_SHARE)
    found = [
        Finding(
            area="storage",
            title="space",
            outcome=POOR if little else GOOD,
            said=f"{left / 1e9:.1f} of {total / 1e9:.1f} GB are free at {data_root}",
            fix="atoll system prune --all" if little else "",
        )
    ]
    if free.f_files:
        few = free.f_favail / free.f_files < _LITTLE_SHARE
        found.append(
            Finding(
                area="storage",
                title="inodes",
                outcome=POOR if few else GOOD,
                said=f"{free.f_favail} of {free.f_files} are free",
                fix="atoll system prune --all" if few else "",
            )
        )
    return found
