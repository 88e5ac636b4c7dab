import pytest

from atoll.vm.machine import EMULATED, WARM, Link, Machine
from atoll.vm.qemu import EMPTY, Qemu

BASE = Machine(
    kernel="/vm/kernel", memory=256, cpus=1, accel="tcg", agent=10, image=None, disk=None, port=11, control=12,
    console=13, memory_fd=14,
)  # fmt: skip


def line(**changes: object) -> str:
    return " ".join(Qemu().command(BASE.replace(**changes), "/usr/bin/qemu"))


def test_the_devices_are_the_same_whatever_is_in_them():
    """Else no machine could be restored from another's template."""

    def devices(text: str) -> list[str]:
        words = text.split()
        return [words[i + 1].split(",drive")[0] for i, word in enumerate(words) if word == "-device"]

    empty = devices(line())
    assert empty == devices(line(image=20, disk=21, link=Link(tap=22), restored=True))
    assert empty == devices(line(link=Link(user=True)))
    assert str(EMPTY) in line()


def test_it_is_confined_and_emulates_only_when_told_to():
    text = line()
    assert "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny" in text
    assert "-nodefaults -no-user-config" in text
    assert "-accel tcg" in text
    assert "-accel kvm -cpu host" in line(accel="kvm")
    assert "/dev/kvm" not in text


def test_nothing_in_it_is_a_path_but_the_kernel_and_the_memory():
    paths = [word for word in line(image=20, disk=21).replace("=", " ").replace(",", " ").split() if word[0] == "/"]
    allowed = ("/usr/bin/qemu", "/vm/kernel", "/proc/self/fd/14", "/dev/fdset/", "/dev/vda", "/init", "/dev/urandom")
    assert [path for path in paths if not path.startswith(allowed)] == []


def test_only_a_machine_with_volumes_has_a_server_of_them():
    assert "vhost-user-fs" not in line()
    assert "tag=volumes" in line(volumes="/run/atoll/volumes.sock")


def test_a_restored_one_waits_for_its_state():
    assert line(restored=True).endswith("-S -incoming defer")


def test_it_inherits_what_it_names():
    given = BASE.replace(image=20, disk=21, link=Link(tap=22))
    assert sorted(Qemu().descriptors(given)) == [10, 11, 12, 13, 14, 20, 21, 22]


def test_a_kernel_with_an_initial_disk_finds_its_devices_by_acpi():
    assert "-M microvm,acpi=off," in line()
    assert "-initrd" not in line()
    text = line(initrd="/vm/initrd")
    assert "-M microvm,acpi=on,pit=on,pic=on," in text
    assert "-initrd /vm/initrd" in text


def test_an_emulated_machine_is_told_how_fast_it_counts():
    assert "tsc_early_khz=2500000" in line(tsc_khz=2_500_000)
    assert "tsc_early_khz" not in line()
    assert "tsc_early_khz" not in line(tsc_khz=2_500_000, accel="kvm")
    assert f"{EMULATED}=1" in line()
    assert EMULATED not in line(accel="kvm")


@pytest.mark.parametrize("warm", [True, False])
def test_a_template_warms_itself_up(warm):
    assert (f"{WARM}=1" in line(warm=warm)) == warm


def test_a_second_network_is_at_the_spare_interface():
    """As many devices as microvm has room for, and the same ones: what is at them may change."""
    text = line(link=Link(tap=22), second=23)
    assert "tap,id=second,fd=23" in text
    assert "hubport,id=second-port,hubid=1,netdev=second" in text
    assert "id=sink" not in text
    assert "-netdev hubport,id=sink,hubid=1" in line(link=Link(tap=22))
    for given in ({}, {"second": 23}, {"volumes": "/run/v"}, {"volumes": "/run/v", "second": 23}):
        words = line(**given).split()
        devices = [words[i + 1] for i, word in enumerate(words) if word == "-device"]
        assert sum(not one.startswith(("virtconsole", "virtserialport")) for one in devices) == 8
        assert sum(one.startswith("virtio-net-device") for one in devices) == 2
    assert 23 in Qemu().descriptors(BASE.replace(second=23))
