"""An image for another machine: told in words, or run by an emulator that is really there."""

import pytest

from atoll.base import errors
from atoll.engine.containers.emulation import check
from atoll.spec import platform

AMD64 = platform.parse("linux/amd64")
ARM64 = platform.parse("linux/arm64")


def test_our_own_is_fine():
    assert check(AMD64, asked=None, host=AMD64) == []
    assert check(AMD64, asked="linux/amd64", host=AMD64) == []


def test_without_an_emulator_it_says_what_is_missing(tmp_path):
    with pytest.raises(errors.Unsupported, match=r"no emulator for arm64 is registered.*qemu-user-static"):
        check(ARM64, asked=None, host=AMD64, binfmt=str(tmp_path))


def test_with_one_it_warns_as_docker_does(tmp_path):
    (tmp_path / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: OCF\noffset 0\n")
    assert check(ARM64, asked="linux/arm64", host=AMD64, binfmt=str(tmp_path)) == []
    warnings = check(ARM64, asked=None, host=AMD64, binfmt=str(tmp_path))
    assert "does not match the detected host platform (linux/amd64)" in warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [("disabled\n", "switched off"), ("enabled\nflags: O\n", "without the flag F"), ("", "switched off")],
)
def test_one_that_cannot_work_is_told(tmp_path, text, message):
    (tmp_path / "qemu-aarch64").write_text(text)
    with pytest.raises(errors.Unsupported, match=message):
        check(ARM64, asked=None, host=AMD64, binfmt=str(tmp_path))


def test_the_32_bit_door_is_named():
    with pytest.raises(errors.Unsupported, match="allow_32bit"):
        check(platform.parse("linux/386"), asked=None, host=AMD64, seccomp="default")
    assert check(platform.parse("linux/386"), asked=None, host=AMD64, seccomp="default,32bit") == []


def test_another_system():
    with pytest.raises(errors.Unsupported, match="windows"):
        check(platform.parse("windows/amd64"), asked=None, host=AMD64)
