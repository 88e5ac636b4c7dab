"""Doctor's look at the kernel: its version, interfaces, control groups and security modules."""

from __future__ import annotations

import os

from atoll.engine.doctor.findings import BAD, GOOD, NOTE, POOR, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.doctor.findings import Host

_NEEDED = (5, 14)
_CONTROLLERS = (
    ("memory", "--memory", "cgroup_enable=memory on the kernel's command line"),
    ("cpu", "--cpus", "CONFIG_CFS_BANDWIDTH"),
    ("pids", "--pids-limit", "CONFIG_CGROUP_PIDS"),
    ("cpuset", "--cpuset-cpus", "CONFIG_CPUSETS"),
    ("blkio", "--device-read-bps", "CONFIG_BLK_CGROUP"),
    ("devices", "--device", "CONFIG_CGROUP_DEVICE"),
    ("freezer", "pause", "CONFIG_CGROUP_FREEZER"),
)
_ALWAYS_IN_V2 = ("devices", "freezer")
_V2_NAMES = {"blkio": "io"}


def kernel(host: Host, release: str) -> list[Finding]:
    """The version, system calls that Atoll uses, filters, Landlock, mitigations."""
    from atoll.linux import landlock
    from atoll.linux import mount as m

    found = [_version(release)]
    actions = host.read("/proc/sys/kernel/seccomp/actions_avail").split()
    filters = "errno" in actions
    found.append(
        Finding(
            area="kernel",
            title="system call filters",
            outcome=GOOD if filters else BAD,
            said=f"seccomp with {', '.join(actions)}" if filters else "no seccomp: containers may call everything",
            fix="" if filters else "use a kernel with CONFIG_SECCOMP_FILTER",
        )
    )
    detached = m.supports_fs_interface()
    found.append(
        Finding(
            area="kernel",
            title="mounts by descriptor",
            outcome=GOOD if detached else POOR,
            said="fsopen(2) and its kin answer" if detached else "refused here, perhaps by a filter around us",
        )
    )
    try:
        version = landlock.abi()
    except OSError:
        version = 0
    found.append(
        Finding(
            area="kernel",
            title="Landlock",
            outcome=GOOD if version >= 2 else NOTE,
            said=f"version {version}" if version else "not there: unpacking is confined by namespaces alone",
            fix="" if version else "add landlock to lsm= on the kernel's command line",
        )
    )
    found.append(_mitigations(host))
    return found


def _version(release: str) -> Finding:
    numbers = tuple([int(part) for part in release.split("-")[0].split(".")[:2] if part.isdecimal()])
    new = numbers >= _NEEDED
    return Finding(
        area="kernel",
        title="version",
        outcome=GOOD if new else BAD,
        said=f"Linux {release}" if new else f"Linux {release} is older than {'.'.join(map(str, _NEEDED))}",
        fix="" if new else "upgrade the kernel",
    )


def _mitigations(host: Host) -> Finding:
    folder = "/sys/devices/system/cpu/vulnerabilities"
    try:
        names = sorted(os.listdir(host.root + folder))
    except OSError:
        names = []
    open_ = [name for name in names if host.read(f"{folder}/{name}").startswith("Vulnerable")]
    return Finding(
        area="kernel",
        title="processor flaws",
        outcome=POOR if open_ else GOOD if names else NOTE,
        said=f"not mitigated: {', '.join(open_)}" if open_ else f"{len(names)} known here, each mitigated or absent",
        fix="boot without mitigations=off, with new microcode" if open_ else "",
    )


def cgroups(host: Host) -> list[Finding]:
    """The hierarchy and what each of our limits needs of it."""
    from atoll.runtime.cgroups import detect

    try:
        hierarchy = detect.detect(host.root)
    except OSError as error:
        said = f"cannot be read: {error.strerror}"
        return [
            Finding(area="cgroups", title="hierarchy", outcome=BAD, said=said, fix="mount cgroup2 on /sys/fs/cgroup")
        ]
    words = {
        "v2": "unified (v2)",
        "v1": "v1, each controller on its own",
        "hybrid": "hybrid: v1 controllers and an own v2 tree",
        "none": "none is mounted: no limits, no pause",
    }
    none = hierarchy.kind == "none"
    found = [
        Finding(
            area="cgroups",
            title="hierarchy",
            outcome=BAD if none else GOOD,
            said=words[hierarchy.kind],
            fix="mount -t cgroup2 cgroup2 /sys/fs/cgroup" if none else "",
        )
    ]
    usable = None if host.uid == 0 else detect.delegated(hierarchy)
    unified = hierarchy.unified.controllers if hierarchy.unified is not None else ()
    for name, option, need in _CONTROLLERS:
        later = _V2_NAMES.get(name, name)
        v2 = later in unified or (name in _ALWAYS_IN_V2 and hierarchy.kind == "v2")
        there = v2 or hierarchy.find(name) is not None
        granted = usable is None or name in usable or later in usable or (v2 and "unified" in usable)
        if there and granted:
            outcome, said, fix = GOOD, f"{option} works", ""
        elif there:
            outcome, said, fix = (
                POOR,
                f"{option} is refused: not delegated to this user",
                _delegation(host, hierarchy.kind),
            )
        else:
            outcome, said, fix = POOR, f"{option} is refused: the kernel offers no such controller", need
        found.append(Finding(area="cgroups", title=name, outcome=outcome, said=said, fix=fix))
    return found


def _delegation(host: Host, kind: str) -> str:
    if host.exists("/run/systemd/system"):
        return (
            "as root: mkdir -p /etc/systemd/system/user@.service.d && "
            "printf '[Service]\\nDelegate=yes\\n' > /etc/systemd/system/user@.service.d/delegate.conf && "
            "systemctl daemon-reload, then log in again"
        )
    where = "/sys/fs/cgroup" if kind == "v2" else "each hierarchy below /sys/fs/cgroup"
    return f"as root: make a group for this user in {where}, chown it to {host.uid}, and log in inside it"


def modules(host: Host) -> list[Finding]:
    """The security modules: which confine containers, which only exist."""
    from atoll.linux import lsm

    there = host.read("/sys/kernel/security/lsm")
    apparmor = (
        lsm.apparmor_enabled() if not host.root else host.read("/sys/module/apparmor/parameters/enabled") == "Y"
    )
    selinux = host.exists("/sys/fs/selinux/enforce")
    if apparmor or selinux:
        name = "AppArmor" if apparmor else "SELinux"
        enforcing = not selinux or host.read("/sys/fs/selinux/enforce") == "1"
        return [
            Finding(
                area="security",
                title="mandatory access control",
                outcome=GOOD if enforcing else POOR,
                said=f"{name} {'enforces' if enforcing else 'only warns'}",
                fix="" if enforcing else "setenforce 1",
            )
        ]
    return [
        Finding(
            area="security",
            title="mandatory access control",
            outcome=NOTE,
            said=f"neither AppArmor nor SELinux runs{f' (there is: {there})' if there else ''}: "
            "namespaces, capabilities and the filter hold alone",
            fix="add apparmor to lsm= on the kernel's command line" if there else "",
        )
    ]
