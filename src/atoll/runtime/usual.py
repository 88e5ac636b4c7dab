"""The file systems that most containers get alike, made by an early init (`early.py`) before anybody asks.

Holds: `expect` (what they are, told once by who knows the defaults), `make`, `trees_for`. Does not hold: where they
are mounted (`rootfs.py`).

A superblock each of proc, sysfs, devpts, mqueue and tmpfs, the nodes and links of /dev, the loopback: 2 ms of the 7
that an init takes, and none of it depends on the request. They are detached mounts (fsmount(2)): nobody sees them,
they take their namespaces from who made them, which are the container's own, and they go with the init's descriptors.
They are used all together, by a request that has these very mounts and no nodes of its own, or not at all.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.linux import netdevice
from atoll.linux.root import Root
from atoll.runtime import devices, mount_options, rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import Mount, Spec

_DEV = "/dev"
_expected: tuple[Mount, ...] = ()


def expect(mounts: tuple[Mount, ...]) -> None:
    """Have these made beforehand from now on, in this process and its forks; none for nothing. Those of type cgroup
    depend on the container's own and are left out, and so are binds."""
    global _expected
    made = [one for one in mounts if one.type != "cgroup" and not rootfs.is_bind(one)]
    kinds = {one.destination: one.type for one in made}
    # The links of /dev lead into a devpts of its own.
    _expected = tuple(made) if (kinds.get(_DEV), kinds.get("/dev/pts")) == ("tmpfs", "devpts") else ()


def make() -> dict[str, int]:
    """In a process whose pid, network and IPC namespaces are to be the container's: bring the loopback up, and make
    the mounts: descriptors by destination, none where this host lacks one of them. Raises OSError (the loopback)."""
    netdevice.set_up("lo")
    made: dict[str, int] = {}
    try:
        for entry in _expected:
            made[entry.destination] = rootfs.new_mount(entry, mount_options.parse(entry.options))
        if _DEV in made:
            _fill(Root(made[_DEV]))
    except (OSError, errors.AtollError):  # the container's own mounts tell, if it asks for them
        for fd in made.values():
            os.close(fd)
        return {}
    return made


def _fill(dev: Root) -> None:
    """The nodes and links of /dev, and the places of what is mounted in it."""
    devices.fill(dev, own_devpts=True)
    for entry in _expected:
        parent, _, name = entry.destination.rpartition("/")
        if parent == _DEV:
            os.mkdir(name, 0o755, dir_fd=dev.fd)


def trees_for(spec: Spec, made: dict[str, int]) -> tuple[tuple[int, int], ...]:
    """The mounts by their index in the spec's, if this container is to have just them; otherwise none."""
    linux = spec.linux
    if not made or linux is None or linux.devices or linux.mount_label:
        return ()
    places = {entry.destination.rstrip("/"): index for index, entry in enumerate(spec.mounts)}
    for one in _expected:
        if one.destination not in places or spec.mounts[places[one.destination]] != one:
            return ()
    return tuple([(places[path], fd) for path, fd in made.items()])
