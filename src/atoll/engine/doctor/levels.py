"""Doctor's look at the levels of isolation, and at programs that some commands want."""

from __future__ import annotations

import os

from atoll.engine.doctor.findings import BAD, GOOD, NOTE, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.doctor.findings import Host

_PACKAGES = {"runc": "runc", "crun": "crun", "gvisor": "runsc", "vm": "qemu-system-x86"}
_PROGRAMS = (
    ("criu", "checkpoint and restore of containers", "criu"),
    ("catatonit", "a small --init, instead of our own", "catatonit"),
    ("fuse-overlayfs", "layers where the kernel refuses overlay", "fuse-overlayfs"),
    ("mkfs.erofs", "read-only images of layers", "erofs-utils"),
    ("gpgv", "signatures by GPG keys", "gpgv"),
)

_EMULATE = 'in [vm] of atoll.toml accel = "tcg" allows emulation, and driver = "uml" user-mode Linux'


def levels(host: Host, data_root: str, kernel: str) -> list[Finding]:
    """Each level, and why it cannot be had. A level that is not there is no fault, but for `container`."""
    from atoll.isolation.external import ls

    found = []
    for level in ls(data_root):
        own = level.name == "container"
        found.append(
            Finding(
                area="isolation",
                title=level.name,
                outcome=GOOD if level.ok else BAD if own else NOTE,
                said=f"works ({level.program})" if level.ok else (level.reason or "cannot be had").partition(" (")[0],
                fix="" if level.ok else _fix(host, level.name, os.path.basename(level.program)),
            )
        )
    return [*found, *_drivers(host), _kvm(host, data_root, kernel)]


def _fix(host: Host, level: str, program: str) -> str:
    """What would bring a level: its package, or the kernel that a program for machines lacks."""
    if level == "vm":
        from atoll.vm import drivers

        if drivers.named("qemu").probe().ok:
            return "atoll vm kernel install --from FILE (docs/vm.md)"
        program = "qemu-system-x86_64"
    package = _PACKAGES.get(level, "")
    return host.install(package) if package and host.program(program) is None else ""


def _drivers(host: Host) -> list[Finding]:
    """What can make machines, each labelled for what it is."""
    from atoll.vm import drivers

    found = []
    for name, one in drivers.probed().items():
        about = drivers.named(name)
        said = f"{one.program}: {about.wall}" if one.ok else f"not here; {about.wall}"
        package = about.package.removeprefix("apt install ")
        fix = "" if one.ok else host.install(package) if package != about.package else about.package
        outcome = GOOD if one.ok else NOTE
        found.append(Finding(area="isolation", title=f"machines by {name}", outcome=outcome, said=said, fix=fix))
    return found


def _kvm(host: Host, data_root: str, kernel: str) -> Finding:
    """Whether a guest of ours comes up by it: opening it proves nothing (`vm/probe.py`)."""
    if not os.path.exists(f"{host.root}/dev/kvm"):
        return _about_kvm(NOTE, "there is no /dev/kvm: machines are emulated, several times slower")
    if not os.access(f"{host.root}/dev/kvm", os.R_OK | os.W_OK):
        name = "USER" if host.uid == 0 else str(host.uid)
        return _about_kvm(NOTE, "/dev/kvm is there and may not be opened", f"as root: usermod -aG kvm {name}")
    from atoll.base import errors
    from atoll.vm import probe

    try:
        found = probe.kvm(f"{data_root}/vm", kernel)
    except errors.NotFound as error:
        return _about_kvm(
            NOTE, "/dev/kvm opens, which proves nothing; without a kernel no guest can try it", error.hint
        )
    except errors.AtollError as error:
        return _about_kvm(NOTE, f"/dev/kvm opens, which proves nothing; a guest could not be tried: {error.message}")
    if found.ok:
        return _about_kvm(GOOD, "a guest came up by it")
    return _about_kvm(NOTE, f"/dev/kvm opens, and does not work: {found.reason}", _EMULATE)


def _about_kvm(outcome: str, said: str, fix: str | None = None) -> Finding:
    return Finding(area="isolation", title="KVM", outcome=outcome, said=said, fix=fix or "")


def programs(host: Host) -> list[Finding]:
    """What is installed of the programs that are used where they are."""
    found = []
    for name, purpose, package in _PROGRAMS:
        path = host.program(name)
        found.append(
            Finding(
                area="programs",
                title=name,
                outcome=GOOD if path else NOTE,
                said=f"{path}: {purpose}" if path else f"not installed: {purpose}",
                fix="" if path else host.install(package),
            )
        )
    return found
