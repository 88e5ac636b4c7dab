"""The drivers of machines by name, and which of them a machine gets on this host.

Holds: `named`, `NAMES`, `choose`. Does not hold: any of them. Two questions are apart: what executes the guest
(KVM, found by booting: `probe.py`; emulation, only where the configuration allows it) and which program does.

`auto` never takes a weaker wall than a machine's: user-mode Linux is taken only where it was named, and what is
refused says so.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.vm import kernel as kernels
from atoll.vm.machine import KVM, OWN, TCG, Availability, Driver

AUTO = "auto"
NAMES = ("qemu", "cloud-hypervisor", "firecracker", "uml")
"""In the order of `auto`, the last only by name: first what can be saved and restored, then what can do more."""
_BY_ITSELF = NAMES[:-1]


class Choice(Value):
    """What a machine is made by: a driver's name, and how its guest is executed."""

    driver: str
    accel: str

    @property
    def said(self) -> str:
        """In words, for whoever inspects."""
        how = {KVM: "by KVM", TCG: "by software emulation (TCG)", OWN: "a weaker wall than a machine's"}[self.accel]
        return f"{named(self.driver).title}, {how}"


def named(name: str) -> Driver:
    """A driver; only its module is loaded. Raises InvalidArgument."""
    if name == "qemu":
        from atoll.vm.qemu import Qemu

        return Qemu()
    if name == "uml":
        from atoll.vm.uml import Uml

        return Uml()
    if name == "firecracker":
        from atoll.vm.firecracker import Firecracker

        return Firecracker()
    if name == "cloud-hypervisor":
        from atoll.vm.cloud_hypervisor import CloudHypervisor

        return CloudHypervisor()
    raise errors.InvalidArgument(f"no driver of machines is called {name!r}", hint="one of " + ", ".join(NAMES))


def probed() -> dict[str, Availability]:
    """Every driver, and whether its program is here."""
    return {name: named(name).probe() for name in NAMES}


def choose(root: str, kernel: str, driver: str, accel: str) -> Choice:
    """The driver for a machine, by the settings `driver` and `accel` (each may be `auto`). Raises Unsupported, which
    says what could be allowed; NotFound without a kernel."""
    if driver != AUTO:
        return _with(root, kernel, named(driver), accel)
    here = [name for name in _BY_ITSELF if named(name).probe().ok]
    if not here:
        raise errors.Unsupported("no program for virtual machines is here", hint=named(NAMES[0]).package)
    reasons = []
    for name in here:
        try:
            return _with(root, kernel, named(name), accel)
        except errors.Unsupported as error:
            reasons.append(error)
    raise reasons[0]


def _with(root: str, kernel: str, driver: Driver, accel: str) -> Choice:
    found = driver.probe()
    if not found.ok:
        raise errors.Unsupported(f"{driver.title}: {found.reason}")
    if accel != AUTO and accel not in driver.accelerators and driver.accelerators != (OWN,):
        raise errors.Unsupported(f"{driver.title} cannot emulate: it needs KVM")
    if driver.accelerators == (OWN,):
        if accel == KVM:
            raise errors.Unsupported(f"{driver.title} does not use KVM, which [vm] accel demands")
        return Choice(driver=driver.name, accel=OWN)
    if kernels.installed(root, kernel).initrd and not driver.initrd:
        raise errors.Unsupported(
            f"{driver.title} boots no kernel that has not everything built in", hint='[vm] driver = "qemu"'
        )
    if accel == TCG:
        return Choice(driver=driver.name, accel=TCG)
    from atoll.vm import probe

    tried = probe.kvm(root, kernel, driver.name)
    if not tried.ok:
        raise errors.Unsupported(f"KVM does not work here: {tried.reason}", hint=_INSTEAD)
    return Choice(driver=driver.name, accel=KVM)


_INSTEAD = (
    'in [vm] of atoll.toml accel = "tcg" allows software emulation, several times slower, and driver = "uml" '
    "user-mode Linux, a weaker wall"
)
