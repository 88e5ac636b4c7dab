"""What a container gets that asks for nothing: capabilities, paths hidden and read-only, mounts.

Holds: the tables, Atoll's and Docker's. Does not hold: how a request changes them (`plan.py`).
Sources: moby oci/caps and oci/defaults.go, containerd's and Podman's lists of masked paths, CVE-2019-5736 and the
threads named beside an entry.
"""

from __future__ import annotations

from atoll.spec.runtime import Mount

DOCKER_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT "
        "KILL AUDIT_WRITE"
    ).split()
)
# NET_RAW forges packets on the container's network (CVE-2020-14386 needed it), MKNOD makes nodes for a leaked
# device rule, AUDIT_WRITE writes into the host's audit log.
ATOLL_CAPABILITIES = tuple(
    name for name in DOCKER_CAPABILITIES if name not in ("CAP_NET_RAW", "CAP_MKNOD", "CAP_AUDIT_WRITE")
)

# Host-wide facts, or switches of the host, that no namespace divides.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
# In ours, further: addresses of the kernel, and the host's own kernel messages and configuration of modules.
ATOLL_MASKED_PATHS = (*MASKED_PATHS, "/proc/kallsyms", "/proc/kmsg", "/sys/kernel/debug", "/sys/kernel/security")
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# What systemd as process 1 expects (systemd.io/CONTAINER_INTERFACE); its cgroup is writable besides.
SYSTEMD_MOUNTS = (
    Mount(destination="/run", type="tmpfs", source="tmpfs", options=("nosuid", "nodev", "mode=755", "tmpcopyup")),
    Mount(destination="/run/lock", type="tmpfs", source="tmpfs", options=("nosuid", "nodev", "noexec", "mode=1777")),
    Mount(destination="/tmp", type="tmpfs", source="tmpfs", options=("nosuid", "nodev", "mode=1777", "tmpcopyup")),
    Mount(destination="/var/log/journal", type="tmpfs", source="tmpfs", options=("nosuid", "nodev", "mode=755")),
)

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Without CAP_NET_RAW, ping works by its own kind of socket, and without root a server may use port 80, both within
# the container's own network namespace only (moby#41030).
SYSCTLS = (("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647"))


def mounts(*, shm_size: int, terminals_group: bool, cgroup_read_only: bool = True) -> tuple[Mount, ...]:
    """`/proc`, `/dev`, `/sys` and below. `terminals_group`: group 5 (tty) exists in the container's id map."""
    devpts = (
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        *(("gid=5",) if terminals_group else ()),
    )
    cgroup = ("nosuid", "noexec", "nodev", "relatime", *(("ro",) if cgroup_read_only else ()))
    return (
        Mount(destination="/proc", type="proc", source="proc", options=("nosuid", "noexec", "nodev")),
        Mount(
            destination="/dev",
            type="tmpfs",
            source="tmpfs",
            options=("nosuid", "strictatime", "mode=755", "size=65536k"),
        ),
        Mount(destination="/dev/pts", type="devpts", source="devpts", options=devpts),
        Mount(destination="/sys", type="sysfs", source="sysfs", options=("nosuid", "noexec", "nodev", "ro")),
        Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=cgroup),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=("nosuid", "noexec", "nodev")),
        Mount(
            destination="/dev/shm",
            type="tmpfs",
            source="shm",
            options=("nosuid", "noexec", "nodev", "mode=1777", f"size={shm_size}"),
        ),
    )
