"""Device rules: the plain meaning against the BPF program and v1's device files, on random rules and requests."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.cgroups import ebpf_machine as machine

from atoll.base import errors
from atoll.runtime.cgroups import devicebpf, devices
from atoll.spec.runtime import DeviceRule

numbers = st.sampled_from([None, 0, 1, 2])
rules = st.lists(
    st.builds(
        devices.Rule,
        allow=st.booleans(),
        kind=st.sampled_from("bc"),
        major=numbers,
        minor=numbers,
        access=st.sampled_from([7, 7, 1, 2, 4, 6]),
    ),
    max_size=8,
).map(tuple)
asked = st.lists(
    st.builds(
        DeviceRule,
        allow=st.booleans(),
        type=st.sampled_from([None, "a", "b", "c"]),
        major=st.sampled_from([None, -1, 0, 1, 2]),
        minor=st.sampled_from([None, -1, 0, 1, 2]),
        access=st.sampled_from([None, "rwm", "r", "rw", "m"]),
    ),
    max_size=5,
).map(tuple)
REQUESTS = [
    (kind, major, minor, access)
    for kind in "bc"
    for major in (0, 1, 2, 136)
    for minor in (0, 1, 2, 3)
    for access in range(1, 8)
]


def v1_grants(default, exceptions, kind, major, minor, access):
    """What the kernel's device_cgroup does with a default and exceptions (security/device_cgroup.c, in prose)."""
    matching = [
        bits for (other, mj, mn), bits in exceptions if other == kind and mj in (None, major) and mn in (None, minor)
    ]
    if default:
        return not any(bits & access for bits in matching)
    return any(access & ~bits == 0 for bits in matching)


@given(rules)
def test_the_program_means_what_the_rules_say(given_rules):
    program = devicebpf.compile(given_rules)
    machine.check(program)
    for kind, major, minor, access in REQUESTS:
        answer = machine.run(program, {"b": 1, "c": 2}[kind], major, minor, access)
        assert answer == devices.allows(given_rules, kind, major, minor, access), (kind, major, minor, access)


@given(rules)
def test_v1_files_mean_what_the_rules_say_or_are_refused(given_rules):
    try:
        default, exceptions = devices.whitelist(given_rules)
    except errors.Unsupported:
        return
    for kind, major, minor, access in REQUESTS:
        said = v1_grants(default, exceptions, kind, major, minor, access)
        assert said == devices.allows(given_rules, kind, major, minor, access), (kind, major, minor, access)


@given(asked)
def test_whatever_is_asked_the_default_devices_stay_usable(given_asked):
    full = devices.rules_for(given_asked)
    for minor in (3, 5, 7, 8, 9):
        assert devices.allows(full, "c", 1, minor, devices.ALL)
    assert devices.allows(full, "c", 136, 12, devices.READ | devices.WRITE)


def test_nothing_asked_leaves_only_the_default_devices():
    full = devices.rules_for(())
    assert not devices.allows(full, "b", 8, 0, devices.READ)
    assert not devices.allows(full, "c", 1, 1, devices.READ)  # /dev/mem
    assert devices.allows(full, "b", 8, 0, devices.MKNOD)
    assert devices.whitelist(full)[0] is False


def test_privileged_rules_turn_the_default_round():
    default, exceptions = devices.whitelist(devices.rules_for((DeviceRule(allow=True, access="rwm"),)))
    assert default is True
    assert exceptions == []


def test_a_hole_in_a_range_is_refused_by_name():
    asked = (DeviceRule(allow=True, type="c", major=10), DeviceRule(allow=False, type="c", major=10, minor=200))
    with pytest.raises(errors.Unsupported, match=r"c 10:200 out of c 10:\*"):
        devices.whitelist(devices.rules_for(asked))


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        (DeviceRule(allow=True, type="c", access="x"), "access"),
        (DeviceRule(allow=True, type="c", access=""), "access"),
        (DeviceRule(allow=True, type="c", major=1 << 12), "major"),
        (DeviceRule(allow=True, type="c", major=1, minor=-2), "minor"),
    ],
)
def test_bad_rules_are_named_by_path(rule, path):
    with pytest.raises(errors.InvalidArgument, match=rf"devices\[1\]\.{path}"):
        devices.rules_for((DeviceRule(allow=False), rule))


def test_too_many_rules_are_refused():
    many = tuple(devices.Rule(allow=True, kind="c", major=1, minor=n) for n in range(2000))
    with pytest.raises(errors.Unsupported, match="2000 rules"):
        devicebpf.compile(many)


def test_layout_of_an_instruction():
    first = devicebpf.compile(())[:8]
    assert struct.unpack("<BBhi", first) == (0x61, 0x12, 0, 0)


def test_lines_of_v1():
    assert devices.line(("c", 1, 3), devices.ALL) == "c 1:3 mrw"
    assert devices.line(("b", None, None), devices.MKNOD) == "b *:* m"
