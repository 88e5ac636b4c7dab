"""Namespaces that a template's agent holds ready, and lends to the container of the machine that goes on from it.

Holds: `prepare` (once, before the saving), `enter` and `leave` (around the making of the container). Does not hold:
the other namespaces, which cost little. To make a network namespace is a tenth of all that a restored machine
executes. Nothing but `lo` is in the one that waits, and nobody has been in it: what two machines share by it are the
keys of its hash tables, as those of the guest's own.
"""

from __future__ import annotations

import os

from atoll.base import files
from atoll.linux import netdevice, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import Spec

SYSCTL = (("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647"))
"""What nearly every container with a network of its own asks for: set beforehand. One that asks for anything else
gets namespaces made anew."""
_KINDS = {"network": ("net", process.CLONE_NEWNET), "ipc": ("ipc", process.CLONE_NEWIPC)}
_kept: dict[str, int] = {}
_home: dict[str, int] = {}


def prepare() -> None:
    """Make them, and stay where we are. Raises OSError."""
    home = _open()
    try:
        process.unshare(process.CLONE_NEWNET | process.CLONE_NEWIPC)
        try:
            netdevice.set_up("lo")
            for name, value in SYSCTL:
                files.write_file(f"/proc/sys/{name.replace('.', '/')}", value)
            _kept.update(_open())
        finally:
            _enter(home)
    finally:
        _close(home)


def enter(spec: Spec) -> Spec:
    """Be in those that `spec` wants new, and are here: what is cloned then is in them, too. The rest of the spec;
    `leave` comes after it in any case. Raises OSError."""
    linux = spec.linux
    if not _kept or linux is None:
        return spec
    wanted = [one.type for one in linux.namespaces if one.type in _kept and not one.path]
    if frozenset(linux.sysctl) != frozenset(SYSCTL if "network" in wanted else ()):
        return spec
    _home.update(_open())
    _enter({kind: _kept[kind] for kind in wanted})
    rest = tuple([one for one in linux.namespaces if one.type not in wanted])
    return spec.replace(linux=linux.replace(namespaces=rest, sysctl=()))


def leave() -> None:
    """Be where we were; nobody else is lent what one container has had. Raises OSError."""
    try:
        _enter(_home)
    finally:
        _close(_home)
        # Their descriptors stay open: to take them down at the container's end takes half as long as to make them.
        _kept.clear()


def _open() -> dict[str, int]:
    found: dict[str, int] = {}
    for kind, (name, _) in _KINDS.items():
        found[kind] = os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    return found


def _enter(namespaces: dict[str, int]) -> None:
    for kind, fd in namespaces.items():
        process.setns(fd, _KINDS[kind][1])


def _close(namespaces: dict[str, int]) -> None:
    for fd in namespaces.values():
        os.close(fd)
    namespaces.clear()
