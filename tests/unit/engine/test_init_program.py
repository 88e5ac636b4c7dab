"""Which programs can be a container's --init."""

import os

import pytest

from atoll.base import errors
from atoll.engine.containers.init_program import find, is_static
from kit import elf


def test_a_static_program_and_others(tmp_path):
    assert is_static(elf.syscall(39))
    with open(os.path.realpath("/bin/ls"), "rb") as stream:
        assert not is_static(stream.read(4096))
    for content in (b"", b"#!/bin/sh\n", b"\x7fELF\x01" + bytes(60), b"\x7fELF\x02" + b"\xff" * 70):
        assert not is_static(content)


def test_the_first_that_runs_anywhere(tmp_path):
    good, plain = str(tmp_path / "good"), str(tmp_path / "plain")
    for path in (good, plain):
        with open(path, "wb") as stream:
            stream.write(elf.syscall(39))
    os.chmod(good, 0o755)
    assert find(("/no/such", "/bin/ls", plain, good)) == good
    with pytest.raises(errors.Unsupported, match="catatonit"):
        find(("/bin/ls",))
