"""The container's root becomes `/`, and what may show of its mounts outside.

Holds: `isolate` (before the first mount), `private_proc`, and the three ways: `pivot`, `move`, `confine`. Does not
hold: what is mounted (`rootfs.py`). Source: pivot_root(2), config-linux.md "Rootfs Mount Propagation".
"""

from __future__ import annotations

import os

from atoll.linux import mount as m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.linux.root import Root

_PROPAGATION = {
    "private": m.MS_PRIVATE,
    "rprivate": m.MS_PRIVATE,
    "slave": m.MS_SLAVE,
    "rslave": m.MS_SLAVE,
    "shared": m.MS_SLAVE,
    "rshared": m.MS_SLAVE,
    "unbindable": m.MS_PRIVATE,
    "runbindable": m.MS_PRIVATE,
}


def isolate(propagation: str | None) -> None:
    """Cut the new mount namespace's propagation to the host's, as far as `linux.rootfsPropagation` lets. Raises
    OSError."""
    m.set_propagation("/", m.MS_REC | _PROPAGATION.get(propagation or "", m.MS_SLAVE))


def private_proc() -> int:
    """A detached procfs, read through by its descriptor alone. Raises OSError."""
    attributes = m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOEXEC
    try:
        return m.new_filesystem("proc", (), attributes)
    except PermissionError:
        # A user namespace that does not own its pid namespace: the host's, which nothing inside has touched yet.
        try:
            return m.open_tree("/proc", m.OPEN_TREE_CLONE | m.AT_RECURSIVE)
        except PermissionError:  # nor does it own the mount namespace: the container has the caller's mounts anyway
            return os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def pivot(root: Root, propagation: str | None) -> None:
    """pivot_root(2), section "pivot_root(".", ".")": the old root ends up over the new one and is detached."""
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(root.fd)
    m.pivot_root(".", ".")
    # Its unmounting must not reach the host through the peer group. By descriptor: "." is the new root still.
    os.fchdir(old)
    os.close(old)
    m.set_propagation(".", m.MS_REC | m.MS_SLAVE)
    m.umount2(".", m.MNT_DETACH)
    os.chdir("/")
    if propagation in ("shared", "rshared"):
        m.set_propagation("/", m.MS_SHARED | (m.MS_REC if propagation == "rshared" else 0))
    elif propagation in ("unbindable", "runbindable"):
        m.set_propagation("/", m.MS_UNBINDABLE)


def move(root: Root, run: str) -> None:
    """Without pivot_root(2) (a root on the initial ramdisk): the new root is moved over the old one, whose other
    mounts of proc and sysfs go first, because the container's own are to be the only way to them."""
    with open("/proc/self/mountinfo") as file:
        places = [(fields[4], fields[fields.index("-") + 1]) for line in file if (fields := line.split())]
    for place, fstype in places:
        if fstype in ("proc", "sysfs") and not f"{place}/".startswith(f"{run}/"):
            m.umount2(place.encode().decode("unicode_escape"), m.MNT_DETACH)
    os.fchdir(root.fd)
    m.mount(".", "/", None, m.MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def confine(root: Root) -> None:
    """Without a mount namespace of its own the container shares the caller's mounts: chroot(2) is what is left, as in
    runc. No wall for a process with CAP_SYS_CHROOT. Raises OSError."""
    os.fchdir(root.fd)
    os.chroot(".")
    os.chdir("/")
