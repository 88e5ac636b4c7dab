"""The cache of compiled filters: whom it believes, what it survives, and how little a hit loads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap

import model
import pytest

from atoll.base import errors
from atoll.runtime import seccomp
from atoll.runtime.seccomp import cache, compiler
from atoll.spec.runtime import Seccomp, SeccompArg, SyscallRule

PROFILE = seccomp.default_profile(frozenset(), arch="x86_64")


@pytest.fixture
def directory(tmp_path):
    return str(tmp_path / "run" / "seccomp")


@pytest.fixture
def compiled(monkeypatch):
    """Counts compilations."""
    runs = []
    original = compiler.compile_filter

    def counting(given, arch=None):
        runs.append(arch)
        return original(given, arch)

    monkeypatch.setattr(compiler, "compile_filter", counting)
    return runs


def only_file(directory: str) -> str:
    (name,) = os.listdir(directory)
    return os.path.join(directory, name)


def test_a_filter_is_compiled_once(directory, compiled):
    first = seccomp.cached(PROFILE, directory, arch="x86_64")
    assert first == seccomp.compile(PROFILE, arch="x86_64")
    del compiled[:]
    assert seccomp.cached(PROFILE, directory, arch="x86_64") == first
    assert compiled == []
    assert os.stat(directory).st_mode & 0o777 == 0o700
    assert os.stat(only_file(directory)).st_mode & 0o777 == 0o600


def test_everything_that_shapes_a_filter_is_in_its_key(directory, compiled):
    other_rule = PROFILE.syscalls[0].replace(names=PROFILE.syscalls[0].names[1:])
    variants = [
        PROFILE,
        PROFILE.replace(default_errno_ret=13),
        PROFILE.replace(default_action="SCMP_ACT_KILL", default_errno_ret=None),
        PROFILE.replace(architectures=("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")),
        PROFILE.replace(syscalls=(other_rule, *PROFILE.syscalls[1:])),
        PROFILE.replace(syscalls=PROFILE.syscalls[:-1]),
    ]
    for variant in variants:
        assert seccomp.cached(variant, directory, arch="x86_64") == seccomp.compile(variant, arch="x86_64")
    seccomp.cached(PROFILE, directory, arch="aarch64")
    assert len(os.listdir(directory)) == len(variants) + 1
    # What does not shape it does not matter.
    del compiled[:]
    seccomp.cached(PROFILE.replace(listener_path="/x", flags=("SECCOMP_FILTER_FLAG_LOG",)), directory, arch="x86_64")
    assert compiled == []


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o777])
def test_a_directory_that_others_reach_is_refused(directory, mode):
    os.makedirs(directory)
    os.chmod(directory, mode)
    with pytest.raises(errors.Denied, match="cannot trust the filters"):
        seccomp.cached(PROFILE, directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_what_others_own_is_refused(directory, compiled):
    expected = seccomp.cached(PROFILE, directory, arch="x86_64")
    file = only_file(directory)
    os.chown(file, 12345, 12345)
    del compiled[:]
    assert seccomp.cached(PROFILE, directory, arch="x86_64") == expected
    assert compiled == ["x86_64"]
    assert os.stat(file).st_uid == 0
    os.chown(directory, 12345, 12345)
    with pytest.raises(errors.Denied, match="owner 12345"):
        seccomp.cached(PROFILE, directory, arch="x86_64")


def test_a_link_for_a_directory_is_refused(directory, tmp_path):
    os.makedirs(os.path.dirname(directory))
    os.mkdir(tmp_path / "elsewhere", 0o700)
    os.symlink(tmp_path / "elsewhere", directory)
    with pytest.raises(errors.AtollError, match="compiled filters"):
        seccomp.cached(PROFILE, directory)


def damage_truncate(content: bytes) -> bytes:
    return content[:-8]


def damage_ragged(content: bytes) -> bytes:
    return content + b"x"


def damage_bit(content: bytes) -> bytes:
    return content[:60] + bytes([content[60] ^ 1]) + content[61:]


def damage_magic(content: bytes) -> bytes:
    return b"X" + content[1:]


def damage_empty(content: bytes) -> bytes:
    return content[: 8 + 32]


def damage_huge(content: bytes) -> bytes:
    return content + bytes(8 * 4096)


def damage_all(_content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    "damage",
    [damage_truncate, damage_ragged, damage_bit, damage_magic, damage_empty, damage_huge, damage_all],
)
def test_a_damaged_file_is_replaced(directory, compiled, damage):
    expected = seccomp.cached(PROFILE, directory, arch="x86_64")
    file = only_file(directory)
    with open(file, "rb") as whole:
        content = whole.read()
    with open(file, "wb") as broken:
        broken.write(damage(content))
    del compiled[:]
    assert seccomp.cached(PROFILE, directory, arch="x86_64") == expected
    assert compiled == ["x86_64"]
    with open(file, "rb") as mended:
        assert mended.read() == content


def test_a_writable_file_a_link_and_a_fifo_are_not_believed(directory, compiled, tmp_path):
    expected = seccomp.cached(PROFILE, directory, arch="x86_64")
    file = only_file(directory)
    good = tmp_path / "good"

    def writable():
        os.chmod(file, 0o666)

    def link():
        os.rename(file, good)
        os.symlink(good, file)

    def fifo():
        os.unlink(file)
        os.mkfifo(file, 0o600)

    for trick in (writable, link, fifo):
        trick()
        del compiled[:]
        assert seccomp.cached(PROFILE, directory, arch="x86_64") == expected
        assert compiled == ["x86_64"]
        assert os.lstat(file).st_mode & 0o170777 == 0o100600


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.files, "write_all", full)
    directory = str(tmp_path / "cache")
    assert seccomp.cached(PROFILE, directory) == seccomp.compile(PROFILE)
    assert os.listdir(directory) == []
    monkeypatch.setattr(os, "makedirs", full)
    assert seccomp.cached(PROFILE, str(tmp_path / "absent")) == seccomp.compile(PROFILE)


def test_it_stays_small(directory):
    for number in range(150):
        seccomp.cached(PROFILE.replace(default_errno_ret=number), directory, arch="aarch64")
    assert len(os.listdir(directory)) <= 64


def test_a_hit_loads_neither_compiler_nor_tables(directory):
    script = textwrap.dedent(
        """
        import sys
        from atoll.spec.runtime import Seccomp, SyscallRule
        before = set(sys.modules)
        from atoll.runtime import seccomp
        rule = SyscallRule(names=("read",), action="SCMP_ACT_ALLOW")
        profile = Seccomp(default_action="SCMP_ACT_ERRNO", syscalls=(rule,))
        seccomp.cached(profile, sys.argv[1])
        seccomp.install_flags(profile)
        print(*sorted(set(sys.modules) - before))
        """
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script, directory], capture_output=True, text=True, check=True, timeout=30
        ).stdout.split()
        for _ in range(2)
    ]
    assert "atoll.runtime.seccomp.compiler" in runs[0]
    allowed = {"atoll.runtime", "atoll.runtime.seccomp", "atoll.runtime.seccomp.cache", "atoll.runtime.seccomp.flags"}
    allowed |= {"atoll.base.files", "atoll.base.jsontext", "_sha256", "_sha2", "_json", "fcntl", "errno"}
    assert set(runs[1]) <= allowed


def test_the_format_is_raised_with_every_change_of_output():
    """When this fails: raise `FORMAT`, or filters cached before the change stay in use; then record the digest."""
    names = sorted({name for table in model.TABLES.values() for name in table})
    operators = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
    rules = [SyscallRule(names=tuple(names[::2]), action="SCMP_ACT_ALLOW")]
    for index, name in enumerate(names[1:400:6]):
        compared = SeccompArg(
            index=index % 6, op=f"SCMP_CMP_{operators[index % 7]}", value=index << index % 58, value_two=5
        )
        rules.append(SyscallRule(names=(name, "ioctl"), action="SCMP_ACT_TRACE", args=(compared,)))
    summary = hashlib.sha256()
    for machine in ("x86_64", "aarch64"):
        profile = Seccomp(default_action="SCMP_ACT_ERRNO", architectures=tuple(model.NAMED), syscalls=tuple(rules))
        summary.update(compiler.compile_filter(profile, machine))
    assert (cache.FORMAT, summary.hexdigest()[:16]) == (1, "524fb400e728e6cf")
