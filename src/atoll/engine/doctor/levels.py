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


def levels(host: Host) -> list[Finding]:
    """Each level, and why it cannot be had. A level that is not there is no fault, but for `container`."""
    from atoll.isolation.external import ls

    found = []
    for level in ls():
        own = level.name == "container"
        package = _PACKAGES.get(level.name, "")
        found.append(
            Finding(
                area="isolation",
                title=level.name,
                outcome=GOOD if level.ok else BAD if own else NOTE,
                said=f"works ({level.program})" if level.ok else (level.reason or "cannot be had").partition(" (")[0],
                fix=host.install(package) if package and not level.ok and host.program(level.program) is None else "",
            )
        )
    return [*found, _kvm(host)]


def _kvm(host: Host) -> Finding:
    """Opening it proves nothing: machines that emulate it open it too, and their guests die."""
    path = host.root + "/dev/kvm"
    if not os.path.exists(path):
        return Finding(
            area="isolation", title="KVM", outcome=NOTE, said="there is no /dev/kvm: machines are emulated"
        )
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        user = "USER" if host.uid == 0 else str(host.uid)
        return Finding(
            area="isolation",
            title="KVM",
            outcome=NOTE,
            said=f"/dev/kvm is there and cannot be opened: {error.strerror}",
            fix=f"as root: usermod -aG kvm {user}",
        )
    return Finding(
        area="isolation", title="KVM", outcome=NOTE, said="/dev/kvm opens; whether it boots is not tried yet"
    )


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
