"""`spec`: a config.json to start from.

Holds: the verb and the document, as data. Does not hold: the engine's defaults (`engine`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.runtime.command.options import FLAG, TEXT, parse
from atoll.spec import runtime as s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.command.context import Context

SPEC = {"bundle": TEXT, "rootless": FLAG}
_CAPS = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MASKED = (
    "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list "
    "/proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap"
).split()
_READ_ONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()


def spec(_context: Context, argv: list[str]) -> int:
    """Write config.json into the bundle. Raises Conflict if there is one."""
    from atoll.runtime.command.look import pretty

    given = parse("spec", argv, SPEC, {"b": "bundle"})
    bundle = given.text("bundle") or "."
    path = os.path.join(bundle, "config.json")
    if os.path.exists(path):
        raise errors.Conflict("File config.json exists. Remove it first")
    made = rootless(os.geteuid(), os.getegid()) if given.flag("rootless") else root()
    try:
        files.write_atomic(path, pretty(made.to_json()) + "\n", mode=0o666 & ~_umask())
    except OSError as error:
        raise errors.from_os_error(error, f"write {path}") from error
    return 0


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _mount(destination: str, fstype: str, source: str, *options: str) -> s.Mount:
    return s.Mount(destination=destination, type=fstype, source=source, options=options)


def root() -> s.Spec:
    """A shell in new namespaces, for root."""
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup")
    return s.Spec(
        process=s.Process(
            terminal=True,
            args=("sh",),
            env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"),
            cwd="/",
            capabilities=s.Capabilities(bounding=_CAPS, effective=_CAPS, permitted=_CAPS),
            rlimits=(s.Rlimit(type="RLIMIT_NOFILE", hard=1024, soft=1024),),
            no_new_privileges=True,
        ),
        root=s.Root(path="rootfs", readonly=True),
        hostname="atoll",
        mounts=(
            _mount("/proc", "proc", "proc"),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount(
                "/dev/pts",
                "devpts",
                "devpts",
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ),
            _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
            _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
        ),
        linux=s.Linux(
            resources=s.Resources(devices=(s.DeviceRule(allow=False, access="rwm"),)),
            namespaces=tuple([s.Namespace(type=kind) for kind in kinds]),
            masked_paths=tuple(_MASKED),
            readonly_paths=tuple(_READ_ONLY),
        ),
    )


def rootless(uid: int, gid: int) -> s.Spec:
    """The same for an ordinary user: own user namespace with one id, the host's network, no limits."""
    made = root()
    assert made.linux is not None
    kinds = [one for one in made.linux.namespaces if one.type != "network"]
    mounts = []
    for entry in made.mounts:
        if entry.destination == "/sys":  # a new sysfs would want a network namespace of its own
            entry = _mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro")
        elif entry.destination == "/sys/fs/cgroup":
            continue
        mounts.append(entry.replace(options=tuple([o for o in entry.options if not o.startswith(("gid=", "uid="))])))
    return made.replace(
        mounts=tuple(mounts),
        linux=made.linux.replace(
            resources=None,
            namespaces=(*kinds, s.Namespace(type="user")),
            uid_mappings=(s.IDMapping(container_id=0, host_id=uid, size=1),),
            gid_mappings=(s.IDMapping(container_id=0, host_id=gid, size=1),),
        ),
    )
