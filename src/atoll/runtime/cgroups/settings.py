"""One limit as one write: the value, and how it is carried out.

Holds: `Setting`, `apply`, the words for what the kernel answers. Does not hold: which settings there are (`v1.py`,
`v2.py`).
"""

from __future__ import annotations

import errno
import os

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Why a file may be missing although its controller is there, and what to do.
_ABSENT = (
    (
        "memory.memsw.",
        "the kernel does not account for swap: boot it with swapaccount=1, or leave out the swap limit",
    ),
    ("memory.swap.", "the kernel does not account for swap: boot it with swapaccount=1, or leave out the swap limit"),
    ("blkio.weight", "weights need the BFQ I/O scheduler (CONFIG_BFQ_GROUP_IOSCHED)"),
    ("blkio.bfq.", "weights need the BFQ I/O scheduler (CONFIG_BFQ_GROUP_IOSCHED)"),
    ("blkio.leaf_weight", "leaf weights went with the CFQ scheduler in Linux 5.0; use weight"),
    ("io.weight", "weights need the io.cost controller (CONFIG_BLK_CGROUP_IOCOST) or the BFQ scheduler"),
    ("io.bfq.", "weights need the BFQ I/O scheduler (CONFIG_BFQ_GROUP_IOSCHED)"),
    ("cpu.rt_", "the kernel was built without CONFIG_RT_GROUP_SCHED"),
    ("cpu.cfs_burst", "cpu.burst needs Linux 5.14 or newer"),
    ("cpu.max.burst", "cpu.burst needs Linux 5.14 or newer"),
    ("cpu.idle", "cpu.idle needs Linux 5.15 or newer"),
    ("hugetlb.", "see /sys/kernel/mm/hugepages for the page sizes of this machine"),
)


class Setting(Value):
    """Write `text` into `file` of the cgroup that has `controller`. `prop` is the property of config.json it comes
    from. An `optional` one may be passed over where the file is missing: it then says what is true anyway."""

    controller: str
    file: str
    text: str
    prop: str
    optional: bool = False
    fallback: tuple[str, str] | None = None  # another (file, text) where `file` is missing


def apply(settings: Iterable[Setting], place: Callable[[str], str | None], *, rootless: bool) -> None:
    """Carry the settings out in their order; `place` gives the directory of a controller.

    Some pairs may only be changed in one order, which depends on the present values (memory and memory+swap, quota
    and burst): a write answered EINVAL is tried again after all others, and the second answer counts.
    Raises AtollError naming the property.
    """
    late = []
    for setting in settings:
        directory = place(setting.controller)
        if directory is None:
            if setting.optional:
                continue
            raise missing(setting.controller, setting.prop, rootless=rootless)
        try:
            _write(directory, setting)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise explain(error, setting) from error
            late.append((directory, setting))
    for directory, setting in late:
        try:
            _write(directory, setting)
        except OSError as error:
            raise explain(error, setting) from error


def _write(directory: str, setting: Setting) -> None:
    try:
        write(f"{directory}/{setting.file}", setting.text)
    except FileNotFoundError:
        if setting.fallback is not None:
            write(f"{directory}/{setting.fallback[0]}", setting.fallback[1])
        elif not (setting.optional and os.path.isdir(directory)):
            raise


def write(path: str, text: str) -> None:
    """One write(2) to a cgroup's file. Raises OSError with the path."""
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def read(path: str) -> str:
    """A cgroup's file, stripped. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        content = os.read(fd, 65536)
        while chunk := os.read(fd, 65536):
            content += chunk
    finally:
        os.close(fd)
    return content.decode("utf-8", "replace").strip()


def missing(controller: str, prop: str, *, rootless: bool) -> errors.AtollError:
    """The error for a limit whose controller is not to be had."""
    if rootless:
        uid, gid = os.getuid(), os.getgid()
        return errors.Denied(
            f"{prop} needs the {controller} cgroup controller, which is not delegated to user {uid}",
            hint=f"have root delegate it: on systemd 'systemctl edit user@{uid}.service' with Delegate=yes; without, "
            f"'mkdir /sys/fs/cgroup/{controller}/atoll-{uid} && chown -R {uid}:{gid} /sys/fs/cgroup/{controller}/"
            f"atoll-{uid}' and name /atoll-{uid} as the cgroup parent; or leave the limit out",
        )
    return errors.Unsupported(
        f"{prop} needs the {controller} cgroup controller, which this host does not offer",
        hint=f"enable {controller} in the kernel or mount its hierarchy, or leave the property out",
    )


def explain(error: OSError, setting: Setting) -> errors.AtollError:
    """What a refused write means, in the words of the property."""
    what = f"cannot set {setting.prop} ({setting.file} = {setting.text!r})"
    code = error.errno
    if code == errno.ENOENT:
        for prefix, hint in _ABSENT:
            if setting.file.startswith(prefix):
                return errors.Unsupported(f"{what}: this kernel does not have it", hint=hint)
        return errors.Unsupported(f"{what}: this kernel does not have it", hint="leave the property out")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return errors.Denied(f"{what}: {error.strerror}", hint="a parent cgroup may allow less, or own the file")
    if code == errno.EBUSY and setting.controller == "memory":
        return errors.FailedPrecondition(
            f"{what}: more is in use and cannot be reclaimed", hint="raise the limit, or free memory in the container"
        )
    if code == errno.EBUSY:
        return errors.FailedPrecondition(f"{what}: in use by processes or children of the cgroup")
    if code == errno.ENODEV:
        return errors.InvalidArgument(f"{what}: no such block device", hint="give major:minor of a whole disk")
    if code == errno.ENOSPC:
        return errors.FailedPrecondition(
            f"{what}: processes of the cgroup would be left without CPUs or memory nodes"
        )
    if code in (errno.EINVAL, errno.ERANGE, errno.EDOM):
        return errors.InvalidArgument(f"{what}: the kernel refuses the value", hint=_range_hint(setting))
    if code in (errno.EOPNOTSUPP, errno.ENXIO, 524):  # 524: ENOTSUPP, which leaks from the kernel without a name
        return errors.Unsupported(f"{what}: the kernel does not support it here")
    return errors.from_os_error(error, what.removeprefix("cannot "))


def _range_hint(setting: Setting) -> str | None:
    if "cpu" in setting.file and ("quota" in setting.file or "max" in setting.file or "period" in setting.file):
        return "a quota is at least 1000 us, a period 1000 to 1000000 us, and neither exceeds a parent's share"
    if setting.file.startswith("cpuset."):
        return "only CPUs and memory nodes of the parent cgroup; see cpuset.cpus there"
    if "mem" in setting.file:
        return "memory+swap is at least memory; both are whole bytes"
    return None
