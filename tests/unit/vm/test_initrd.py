import re
import stat

import pytest

from atoll.base import errors
from atoll.vm import initrd

EVERYTHING = [f"CONFIG_{name}=y" for name in (*initrd.BUILT_IN, *initrd.WANTED)]


def module(*others: str) -> bytes:
    return b"\x7fELF\0depends=" + ",".join(others).encode() + b"\0"


def members(archive: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Names, modes, contents and devices of a `newc` archive, as cpio(5) has it."""
    found, position = {}, 0
    while True:
        assert archive[position : position + 6] == b"070701"
        numbers = [int(archive[position + 6 + 8 * i : position + 14 + 8 * i], 16) for i in range(13)]
        name = archive[position + 110 : position + 110 + numbers[11] - 1].decode()
        start = (position + 110 + numbers[11] + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (numbers[1], archive[start : start + numbers[6]], (numbers[9], numbers[10]))
        position = (start + numbers[6] + 3) & ~3


def test_what_a_configuration_needs_beside_itself():
    assert initrd.needed("\n".join(EVERYTHING)) == ()
    some = [line.replace("=y", "=m") if "VIRTIO_BLK" in line or "EROFS" in line else line for line in EVERYTHING]
    assert initrd.needed("\n".join(some)) == ("virtio_blk", "erofs")
    without = [line for line in EVERYTHING if "VIRTIO_FS" not in line and "BALLOON" not in line]
    assert initrd.needed("\n".join(without)) == ()


@pytest.mark.parametrize("name", ["ACPI", "DEVTMPFS", "VIRTIO_MMIO", "OVERLAY_FS"])
def test_what_it_has_in_no_form_is_named(name):
    lines = [line for line in EVERYTHING if line != f"CONFIG_{name}=y"]
    with pytest.raises(errors.Unsupported, match=f"lacks what a machine boots from: CONFIG_{name}"):
        initrd.needed("\n".join([*lines, f"# CONFIG_{name} is not set"]))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_modules_come_after_what_they_depend_on(machine):
    tree = {"a": module("b", "c-d"), "b": module("c_d"), "c_d": module(), "e": module("b")}
    found = members(initrd.build(machine, ("a", "e"), tree.__getitem__))
    order = [found[f"modules/{number:02}"][1] for number in range(4)]
    assert order == [tree["c_d"], tree["b"], tree["a"], tree["e"]]
    assert "modules/04" not in found
    mode, program, _ = found["init"]
    assert mode == stat.S_IFREG | 0o755
    assert program.startswith(b"\x7fELF\x02")
    assert re.findall(rb"/modules/\d\d", program) == [f"/modules/{number:02}".encode() for number in range(4)]
    assert found["dev/console"][0::2] == (stat.S_IFCHR | 0o600, (5, 1))


def test_what_is_not_to_be_built_is_refused():
    with pytest.raises(errors.Corrupt, match="depends on itself"):
        initrd.build("x86_64", ("a",), {"a": module("b"), "b": module("a")}.__getitem__)
    with pytest.raises(errors.Corrupt, match="depends on itself, or on too many"):
        initrd.build("x86_64", ("0",), lambda name: module(str(int(name) + 1)))
    with pytest.raises(errors.Corrupt, match="without a list"):
        initrd.build("x86_64", ("a",), {"a": b"no module"}.__getitem__)
    with pytest.raises(errors.Unsupported, match="riscv64"):
        initrd.build("riscv64", (), {}.__getitem__)
