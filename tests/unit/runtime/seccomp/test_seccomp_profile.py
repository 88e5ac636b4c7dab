"""The default profile: what it says, that its data are consistent, and that a filter is what was recorded."""

from __future__ import annotations

import os

import bpf_machine
import model
import pytest

from atoll.base import jsontext
from atoll.runtime import seccomp
from atoll.runtime.seccomp import profile as data
from atoll.spec.runtime import Seccomp

ALLOW, ENOSYS, EPERM, EAFNOSUPPORT, KILL_PROCESS = 0x7FFF0000, 0x50026, 0x50001, 0x50061, 0x80000000
EVERY_CAPABILITY = frozenset(capability for capability, _ in data.WITH_CAPABILITY)


def names(text: str) -> list[str]:
    return text.split()


def verdict(profile: Seccomp, name: str, *args: int, machine: str = "x86_64") -> int:
    program = seccomp.compile(profile, arch=machine)
    return bpf_machine.run(program, model.TABLES[machine][name], bpf_machine.AUDIT[machine], args)[0]


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def machine(request):
    return request.param


@pytest.fixture(scope="module")
def plain(machine):
    return seccomp.default_profile(frozenset(), arch=machine)


def test_what_is_open(plain, machine):
    for _, group in data.OPEN:
        for name in names(group):
            if name in model.TABLES[machine]:
                assert verdict(plain, name, machine=machine) == ALLOW, name


def test_what_is_closed(plain, machine):
    for what, group, reason in data.CLOSED:
        assert reason, what
        for name in names(group):
            assert any(name in table for table in model.TABLES.values()), f"{name} is no call"
            if name in model.TABLES[machine]:
                wanted = ENOSYS if name == "clone3" else EPERM
                assert verdict(plain, name, 0, machine=machine) == wanted, name


def test_every_name_is_a_system_call_of_some_table():
    every = [name for _, group in data.OPEN for name in names(group)]
    every += [name for _, group in data.WITH_CAPABILITY for name in names(group)]
    unknown = {name for name in every if not any(name in table for table in model.TABLES.values())}
    assert not unknown
    assert len(set(every)) > 350


def test_every_call_of_the_machine_has_been_thought_of(machine):
    """A call that a new kernel brings must be put into one of the lists by someone."""
    mentioned = {name for _, group in data.OPEN for name in names(group)}
    mentioned |= {name for _, group in data.WITH_CAPABILITY for name in names(group)}
    mentioned |= {name for _, group, _ in data.CLOSED for name in names(group)}
    mentioned |= set(names(data.DOCKER_ONLY)) | set(names("socket personality"))
    never_implemented = names(
        "afs_syscall create_module get_kernel_syms getpmsg putpmsg query_module security tuxcall vserver"
    )
    assert set(model.TABLES[machine]) - mentioned - set(never_implemented) == set()


def test_families(plain, machine):
    opened = {1, 2, 10, 16}
    for family in range(64):
        wanted = ALLOW if family in opened else EAFNOSUPPORT
        assert verdict(plain, "socket", family, machine=machine) == wanted, family
        wanted = ALLOW if family == 1 else EAFNOSUPPORT
        assert verdict(plain, "socketpair", family, machine=machine) == wanted, family
    assert verdict(plain, "socket", (1 << 32) + 38, machine=machine) == EAFNOSUPPORT


@pytest.mark.parametrize("docker", [False, True])
def test_af_alg_and_af_vsock_are_closed_whatever_the_capabilities(docker):
    profile = seccomp.default_profile(
        EVERY_CAPABILITY | {"CAP_NET_ADMIN", "CAP_NET_RAW"}, docker=docker, arch="x86_64"
    )
    for family in (38, 40):
        assert verdict(profile, "socket", family) == (EPERM if docker else EAFNOSUPPORT)


def test_capabilities_open_what_they_are_about():
    for capability, group in data.WITH_CAPABILITY:
        profile = seccomp.default_profile(frozenset({capability}), arch="x86_64")
        for name in names(group):
            if name in model.TABLES["x86_64"]:
                assert verdict(profile, name) == ALLOW, (capability, name)
    assert verdict(seccomp.default_profile({"CAP_NET_RAW"}, arch="x86_64"), "socket", 17) == ALLOW
    assert verdict(seccomp.default_profile({"CAP_NET_ADMIN"}, arch="x86_64"), "socket", 15) == ALLOW


def test_namespaces_by_clone():
    plain = seccomp.default_profile(frozenset(), arch="x86_64")
    assert verdict(plain, "clone", 0x11) == verdict(plain, "clone", 0x3D0F00) == ALLOW
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert verdict(plain, "clone", 1 << bit | 0x11) == EPERM
    admin = seccomp.default_profile({"CAP_SYS_ADMIN"}, arch="x86_64")
    assert verdict(admin, "clone", 0x10000011) == verdict(admin, "clone3") == ALLOW


def test_personality():
    plain = seccomp.default_profile(frozenset(), arch="x86_64")
    for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert verdict(plain, "personality", value) == ALLOW
    for value in (1, 0x40000, 0x400000, 0xFFFFFFFFFFFFFFFF):
        assert verdict(plain, "personality", value) == EPERM


def test_newer_calls_read_enosys(plain, machine):
    program = seccomp.compile(plain, arch=machine)
    for nr in (470, 471, 500, 1000, 0x3FFFFFFF):
        assert bpf_machine.run(program, nr, bpf_machine.AUDIT[machine])[0] == ENOSYS


def test_other_widths_are_killed_unless_opened(machine):
    others = {"x86_64": [("i386", 4), ("x32", 0x40000001)], "aarch64": [("arm", 4)]}[machine]  # write(2)
    closed = seccomp.compile(seccomp.default_profile(frozenset(), arch=machine), arch=machine)
    for how in ({"allow_32bit": True}, {"docker": True}):
        opened = seccomp.compile(seccomp.default_profile(frozenset(), arch=machine, **how), arch=machine)
        for table, write in others:
            assert bpf_machine.run(closed, write, bpf_machine.AUDIT[table])[0] == KILL_PROCESS
            assert bpf_machine.run(opened, write, bpf_machine.AUDIT[table])[0] == ALLOW
    if machine == "x86_64":
        opened = seccomp.compile(seccomp.default_profile(frozenset(), arch=machine, allow_32bit=True), arch=machine)
        assert bpf_machine.run(opened, 102, bpf_machine.AUDIT["i386"], (1,))[0] == ALLOW


def test_docker_differs_where_it_is_said_to(machine):
    ours = seccomp.default_profile(frozenset(), arch=machine)
    docker = seccomp.default_profile(frozenset(), docker=True, arch=machine)
    differing = {
        name
        for name in model.TABLES[machine]
        if any(
            verdict_of(ours, machine, name, arg) != verdict_of(docker, machine, name, arg) for arg in (0, 1, 3, 38)
        )
    }
    stated = set(data.ATOLL_ONLY) | set(names(data.DOCKER_ONLY)) | {"socket"}
    assert differing <= stated
    assert stated & set(model.TABLES[machine]) - {"open_tree_attr"} <= differing | {"epoll_ctl_old", "epoll_wait_old"}


def verdict_of(profile: Seccomp, machine: str, name: str, arg: int) -> int:
    return model.answer(profile, machine, machine, model.TABLES[machine][name], (arg, 0, 0, 0, 0, 0))


def test_profiles_survive_json():
    from atoll.spec.codec import dump, parse

    profile = seccomp.default_profile({"CAP_SYS_ADMIN"}, arch="x86_64")
    again = parse(Seccomp, jsontext.loads(jsontext.dumps(dump(profile))), "linux.seccomp")
    assert again == profile


def test_the_documentation_names_what_is_closed():
    with open(os.path.join(os.path.dirname(__file__), "../../../../docs/seccomp.md"), encoding="utf-8") as file:
        text = file.read()
    missing = [name for _, group, _ in data.CLOSED for name in names(group) if f"`{name}`" not in text]
    assert not missing
    for _, family, _ in data.FAMILIES:
        assert f"`{family}`" in text
    assert all(f"`{name}`" in text for name in data.ATOLL_ONLY)
