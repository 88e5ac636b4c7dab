"""Which driver a machine gets, by what is here and what the settings say."""

import pytest

from atoll.base import errors
from atoll.vm import drivers, kernel, probe
from atoll.vm.machine import Availability, Driver


@pytest.fixture
def host(monkeypatch):
    """A function that says what the host has: programs, and by which of them KVM boots."""

    def have(*programs: str, kvm: tuple[str, ...] = (), initrd: str = "") -> None:
        monkeypatch.setattr(Driver, "probe", lambda self: Availability(ok=self.name in programs, reason="not here"))
        found = kernel.Kernel(path="/vmlinuz", digest="0" * 64, initrd=initrd)
        monkeypatch.setattr(kernel, "installed", lambda root, name="default": found)
        tried = {True: Availability(ok=True), False: Availability(ok=False, reason="it crawls")}
        monkeypatch.setattr(probe, "kvm", lambda root, name, driver: tried[driver in kvm])

    return have


def chosen(driver: str = "auto", accel: str = "auto") -> tuple[str, str]:
    found = drivers.choose("/nowhere", "default", driver, accel)
    return found.driver, found.accel


def test_auto_takes_what_boots_by_kvm_and_prefers_what_can_be_saved(host):
    host("qemu", "firecracker", "cloud-hypervisor", "uml", kvm=("qemu", "firecracker"))
    assert chosen() == ("qemu", "kvm")
    host("firecracker", "uml", kvm=("firecracker",))
    assert chosen() == ("firecracker", "kvm")
    host("qemu", "firecracker", kvm=("firecracker",))
    assert chosen() == ("firecracker", "kvm")


def test_a_kernel_of_modules_needs_a_driver_that_loads_them(host):
    host("qemu", "firecracker", kvm=("qemu", "firecracker"), initrd="/initrd")
    assert chosen() == ("qemu", "kvm")
    with pytest.raises(errors.Unsupported, match="boots no kernel that has not everything built in"):
        chosen("firecracker")


def test_a_weaker_wall_or_emulation_is_never_taken_unasked(host):
    host("qemu", "uml")
    with pytest.raises(errors.Unsupported, match="KVM does not work here: it crawls") as caught:
        chosen()
    assert 'accel = "tcg"' in str(caught.value.hint)
    assert 'driver = "uml"' in str(caught.value.hint)
    assert chosen(accel="tcg") == ("qemu", "tcg")
    host("uml")
    with pytest.raises(errors.Unsupported, match="no program for virtual machines"):
        chosen()


def test_one_that_is_named_is_taken_or_refused(host):
    host("qemu", "uml", "firecracker", kvm=("qemu",))
    assert chosen("uml") == ("uml", "own")
    assert chosen("uml", "tcg") == ("uml", "own")
    for driver, accel in (
        ("uml", "kvm"),
        ("firecracker", "auto"),
        ("firecracker", "tcg"),
        ("cloud-hypervisor", "auto"),
    ):
        with pytest.raises(errors.Unsupported):
            chosen(driver, accel)
    with pytest.raises(errors.InvalidArgument):
        drivers.named("vmware")


@pytest.mark.parametrize("name", drivers.NAMES)
def test_each_says_what_stands_between_guest_and_host(name):
    one = drivers.named(name)
    assert one.name == name
    assert "kernel of its own" in one.wall
    assert ("weaker" in one.wall) == (name == "uml")
    assert drivers.Choice(driver=name, accel=one.accelerators[0]).said.startswith(one.title)
