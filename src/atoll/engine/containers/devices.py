"""`--device` and `--device-cgroup-rule`: nodes of the host that a container gets.

Holds: `DeviceNode`, the grammar, and looking at the host's nodes (`find`). Does not hold: CDI names (`cdi.py`),
making nodes (`runtime/devices.py`). Loaded only when a device is asked for.
"""

from __future__ import annotations

import os
import stat

from atoll.base import errors
from atoll.base.value import Value
from atoll.spec import runtime as oci
from atoll.spec.codec import int64, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 4096
"""Nodes that one container may be given: a directory of the host is not walked without end."""


class DeviceNode(Value):
    """A node of the host, `source`, to be seen at `path`. `type` is c or b, `mode` its permission bits, `access` any
    of r, w and m; uid and gid are those of the host's node."""

    source: str
    path: str
    type: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    access: str = "rwm"
    WIRE = {
        "source": text,
        "path": text,
        "type": text,
        "major": int64,
        "minor": int64,
        "mode": int64,
        "uid": int64,
        "gid": int64,
        "access": text,
    }


def is_cdi(entry: str) -> bool:
    """Whether a `--device` is a qualified CDI name, `vendor.com/class=name`."""
    kind, equals, name = entry.partition("=")
    vendor, slash, device_class = kind.partition("/")
    return bool(equals and slash and vendor and device_class and name) and not entry.startswith("/")


def split(entry: str) -> tuple[str, str, str]:
    """`/dev/a[:/dev/b][:rwm]`: source, path inside, access. Raises InvalidArgument in Docker's words."""
    if "\0" in entry or "\n" in entry:
        raise errors.InvalidArgument("invalid device specification: it holds a control character")
    parts = entry.split(":")
    source, path, access = parts[0], "", "rwm"
    if len(parts) > 3 or not source:
        raise errors.InvalidArgument(f"invalid device specification: {entry}", hint="e.g. /dev/fuse:/dev/fuse:rw")
    if len(parts) == 3:
        path, access = parts[1], parts[2]
    elif len(parts) == 2:
        if valid_access(parts[1]):
            access = parts[1]
        else:
            path = parts[1]
    path = path or source
    if not valid_access(access):
        raise errors.InvalidArgument(f"invalid device mode: {access}", hint="any of r, w and m")
    if not source.startswith("/") or not path.startswith("/"):
        raise errors.InvalidArgument(f"invalid device specification: {entry}: the paths must be absolute")
    check_place(path, entry)
    return os.path.normpath(source), "/" + os.path.normpath(path).strip("/"), access


def check_place(path: str, entry: str) -> None:
    """Refuse a node where it would change what the system relies on. Raises InvalidArgument."""
    place = "/" + os.path.normpath(path).strip("/")
    if place in ("/", "/dev", "/proc", "/sys") or place.startswith(("/proc/", "/sys/")):
        raise errors.InvalidArgument(f"invalid device specification: {entry}: no device can be on {place}")


def valid_access(word: str) -> bool:
    """Whether a word is an access: r, w and m, each at most once."""
    return 0 < len(word) <= 3 and set(word) <= set("rwm") and len(set(word)) == len(word)


def find(entries: Sequence[str]) -> tuple[DeviceNode, ...]:
    """The nodes of `--device` entries that are paths; a directory stands for all nodes in and below it. Raises
    InvalidArgument, NotFound, Denied."""
    found: list[DeviceNode] = []
    for entry in entries:
        source, path, access = split(entry)
        try:
            info = os.stat(source)
        except OSError as error:
            raise errors.from_os_error(error, f"gather device information for {source}") from error
        if stat.S_ISDIR(info.st_mode):
            below = _in_directory(source, path, access)
            if not below:
                raise errors.InvalidArgument(f"no device found in the directory {source}")
            found += below
        else:
            found.append(node(source, path, access, info))
        if len(found) > MOST:
            raise errors.InvalidArgument(f"--device {entry}: more than {MOST} devices")
    return tuple(found)


def node(source: str, path: str, access: str, info: os.stat_result) -> DeviceNode:
    """The node that `info` describes. Raises InvalidArgument for what is no device."""
    if stat.S_ISCHR(info.st_mode):
        kind = "c"
    elif stat.S_ISBLK(info.st_mode):
        kind = "b"
    else:
        raise errors.InvalidArgument(f"{source}: not a device node")
    return DeviceNode(
        source=source,
        path=path,
        type=kind,
        major=os.major(info.st_rdev),
        minor=os.minor(info.st_rdev),
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        access=access,
    )


def _in_directory(source: str, path: str, access: str) -> list[DeviceNode]:
    found: list[DeviceNode] = []
    pending = [(source, path)]
    while pending and len(found) <= MOST:
        here, there = pending.pop()
        with os.scandir(here) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.is_dir(follow_symlinks=False):
                    if (here, entry.name) not in _NOT_DEVICES and len(pending) < MOST:
                        pending.append((entry.path, f"{there}/{entry.name}"))
                    continue
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
                    found.append(node(entry.path, f"{there}/{entry.name}", access, info))
    return found


# File systems of their own below /dev, which every container has for itself.
_NOT_DEVICES = frozenset(
    (("/dev", "pts"), ("/dev", "shm"), ("/dev", "mqueue"), ("/dev", "fd"), ("/dev", "hugepages"))
)
_OWN = frozenset(
    f"/dev/{name}" for name in "null zero full random urandom tty ptmx console core stdin stdout stderr fd".split()
)


def all_of_host() -> tuple[DeviceNode, ...]:
    """Every node below /dev, for `--privileged`, but for those that every container has for itself and terminals."""
    return tuple(
        [one for one in _in_directory("/dev", "/dev", "rwm") if one.path not in _OWN and not _is_terminal(one)]
    )


def _is_terminal(one: DeviceNode) -> bool:
    return one.type == "c" and one.major == 4 and one.minor < 64


def parse_rule(entry: str) -> oci.DeviceRule:
    """`c 42:* rmw`. Raises InvalidArgument in Docker's words."""
    wrong = errors.InvalidArgument(f"invalid device cgroup format '{entry}'", hint="write e.g. 'c 42:* rmw'")
    words = entry.split(" ")
    if len(words) != 3 or words[0] not in ("a", "b", "c") or not valid_access(words[2]):
        raise wrong
    major, colon, minor = words[1].partition(":")
    if not colon:
        raise wrong
    numbers: list[int | None] = []
    for word in (major, minor):
        if word == "*":
            numbers.append(None)
        elif word.isascii() and word.isdecimal() and len(word) < 10:
            numbers.append(int(word))
        else:
            raise wrong
    return oci.DeviceRule(allow=True, type=words[0], major=numbers[0], minor=numbers[1], access=words[2])
