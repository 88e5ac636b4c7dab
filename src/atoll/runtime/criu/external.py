"""What of a container lies outside of it, which CRIU cannot save: it is named at the dump and given at the restore.

Holds: `mounts`, `namespaces`, `descriptors`. All of it is read from the bundle, never from the images.
Source: CRIU's pages "External bind mounts", "External files" and "inherit-fd"; runc's descriptors.json.
"""

from __future__ import annotations

import os

from atoll.base import files, jsontext
from atoll.runtime.rootfs import is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.runtime.plan import CgroupMount
    from atoll.spec.runtime import Spec

DESCRIPTORS = "descriptors.json"
_KEYS = {"network": "extRootNetNS", "pid": "extRootPidNS"}


def mounts(spec: Spec, bundle: str, cgroups: tuple[CgroupMount, ...], rootfs: str) -> list[tuple[str, str]]:
    """(place inside, place outside) of each bind mount, cgroup and masked file."""
    found: list[tuple[str, str]] = []
    for entry in spec.mounts:
        if is_bind(entry):
            found.append((entry.destination, os.path.join(bundle, entry.source or "")))
        elif entry.type == "cgroup":
            names = [item.name for item in cgroups]
            found += [(_join(entry.destination, name), _join("/sys/fs/cgroup", name)) for name in names]
    assert spec.linux is not None
    for path in spec.linux.masked_paths:
        if os.path.isfile(path if path.startswith(("/proc/", "/sys/")) else f"{rootfs}{path}"):
            found.append((path, "/dev/null"))
    return found


def _join(top: str, name: str) -> str:
    return f"{top}/{name}" if name else top


def namespaces(spec: Spec) -> list[tuple[str, str]]:
    """(key, path) of each namespace by path that CRIU takes as external."""
    assert spec.linux is not None
    found = [(_KEYS[one.type], one.path) for one in spec.linux.namespaces if one.path and one.type in _KEYS]
    return [(key, path) for key, path in found]


def dumped(spec: Spec) -> list[str]:
    """The same as `external` of a dump: `net[4026531840]:extRootNetNS`."""
    kinds = {"extRootNetNS": "net", "extRootPidNS": "pid"}
    return [f"{kinds[key]}[{os.stat(path).st_ino}]:{key}" for key, path in namespaces(spec)]


def note_descriptors(images: str, pid: int) -> None:
    """Write down what the standard descriptors of a process are. Raises OSError."""
    names = [os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)]
    files.write_atomic(f"{images}/{DESCRIPTORS}", jsontext.dumps(names), mode=0o600)


def descriptors(images: str) -> list[tuple[str, int]]:
    """(what it was, our own descriptor) for those that were pipes or sockets: ours take their place. Raises OSError,
    ValueError."""
    names: Any = jsontext.loads(files.read_bytes(f"{images}/{DESCRIPTORS}"))
    found = []
    for number, name in enumerate(names if isinstance(names, list) else []):
        if isinstance(name, str) and name.startswith(("pipe:[", "socket:[")) and number < 3:
            found.append((name, number))
    return found
