"""The systemd driver without systemd: names, properties, the wire. Its conversation is an integration test."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.runtime.cgroups import dbus, units
from atoll.spec.runtime import CPU, BlockIO, DeviceRule, Memory, Pids, Resources


@pytest.mark.parametrize(
    ("path", "user", "slice_", "unit", "place"),
    [
        ("machine.slice:libpod:abc", False, "machine.slice", "libpod-abc.scope", "/machine.slice"),
        (":docker:abc", False, "system.slice", "docker-abc.scope", "/system.slice"),
        (":docker:abc", True, "user.slice", "docker-abc.scope", "/user.slice"),
        ("a-b-c.slice::x", False, "a-b-c.slice", "x.scope", "/a.slice/a-b.slice/a-b-c.slice"),
        ("-.slice:p:x", False, "-.slice", "p-x.scope", ""),
        ("system.slice:p:own-pod.slice", False, "own-pod.slice", "own-pod.slice", "/own.slice/own-pod.slice"),
        (None, False, "system.slice", "atoll-box.scope", "/system.slice"),
    ],
)
def test_names(path: str | None, user: bool, slice_: str, unit: str, place: str):
    assert units.names(path, "box", user=user) == (slice_, unit)
    assert units.expand(slice_) == place


@pytest.mark.parametrize(
    "path",
    ["/a/b", "a:b", "a:b:c:d", "system.slice:p:", "plain:p:x", "a--b.slice:p:x", "s.slice:p:a/b", ".slice:p:x"],
)
def test_no_names(path: str):
    with pytest.raises(errors.InvalidArgument, match=r"linux\.cgroupsPath"):
        units.names(path, "box", user=False)


def test_limits_on_v2():
    asked = Resources(
        memory=Memory(limit=1 << 20, swap=3 << 20, reservation=1 << 19),
        cpu=CPU(shares=1024, quota=15_000, period=100_000, cpus="0-1,9", mems="0"),
        pids=Pids(limit=7),
        block_io=BlockIO(weight=500),
        devices=(DeviceRule(allow=False), DeviceRule(allow=True, type="b", major=8, minor=0, access="r")),
    )
    found = dict(units.limits(asked, unified=True))
    assert found["MemoryMax"] == ("t", 1 << 20)
    assert found["MemorySwapMax"] == ("t", 2 << 20)
    assert found["MemoryLow"] == ("t", 1 << 19)
    assert found["CPUQuotaPerSecUSec"] == ("t", 150_000)
    assert found["CPUWeight"] == ("t", 100)
    assert found["AllowedCPUs"] == ("ay", [0b11, 0b10])
    assert found["TasksMax"] == ("t", 7)
    assert found["DevicePolicy"] == ("s", "strict")
    assert ("/dev/block/8:0", "rm") in found["DeviceAllow"][1]
    assert ("/dev/char/1:3", "rwm") in found["DeviceAllow"][1]
    assert dict(units.limits(Resources(pids=Pids(limit=-1)), unified=True, update=True)) == {
        "TasksMax": ("t", 2**64 - 1)
    }


def test_limits_on_v1_have_its_names():
    asked = Resources(memory=Memory(limit=-1), cpu=CPU(shares=512, cpus="0"), block_io=BlockIO(weight=10))
    found = dict(units.limits(asked, unified=False, update=True))
    assert found == {"MemoryLimit": ("t", 2**64 - 1), "CPUShares": ("t", 512), "BlockIOWeight": ("t", 10)}


def test_quota_is_never_rounded_to_less():
    assert units.quota_per_second(1001, 100_000) == 20_000
    assert units.quota_per_second(-1, None) == 2**64 - 1
    assert units.quota_per_second(50_000, None) == 500_000


def test_annotations():
    given_ = {
        "org.systemd.property.TimeoutStopSec": "2.5",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.After": "['a.service', 'b.service']",
        "org.systemd.property.SendSIGHUP": "true",
        "org.systemd.property.TimeoutStopUSec": "uint64 5",
        "other": "nothing",
    }
    assert units.from_annotations(tuple(given_.items())) == [
        ("TimeoutStopUSec", ("t", 2_500_000)),
        ("CollectMode", ("s", "inactive-or-failed")),
        ("After", ("as", ["a.service", "b.service"])),
        ("SendSIGHUP", ("b", True)),
        ("TimeoutStopUSec", ("t", 5)),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MemoryMax", "uint64 1"),
        ("DeviceAllow", "[]"),
        ("Delegate", "false"),
        ("After", "plain"),
        ("TimeoutStopSec", "'x'"),
    ],
)
def test_annotations_that_are_refused(name: str, value: str):
    with pytest.raises(errors.InvalidArgument, match=f"org.systemd.property.{name}"):
        units.from_annotations(((f"org.systemd.property.{name}", value),))


# --- the wire -----------------------------------------------------------------------------------------------------


def test_bytes_of_the_specification():
    """Alignment by hand: a byte, three of padding, a uint32; structs of an array begin at 8, its length at 4."""
    assert dbus.marshal("yu", (1, 2)) == b"\1\0\0\0\2\0\0\0"
    assert dbus.marshal("a(y)", ([(7,)],)) == b"\1\0\0\0\0\0\0\0\7"
    assert dbus.marshal("v", (("s", "ab"),)) == b"\1s\0\0\2\0\0\0ab\0"
    assert dbus.marshal("ax", ([],)) == b"\0\0\0\0\0\0\0\0"


_leaf = {
    "y": st.integers(0, 255),
    "b": st.booleans(),
    "n": st.integers(-(1 << 15), (1 << 15) - 1),
    "u": st.integers(0, (1 << 32) - 1),
    "x": st.integers(-(1 << 63), (1 << 63) - 1),
    "t": st.integers(0, (1 << 64) - 1),
    "s": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9),
}
_any = st.recursive(
    st.sampled_from(sorted(_leaf)).flatmap(lambda kind: st.tuples(st.just(kind), _leaf[kind])),
    lambda inner: st.one_of(
        inner.map(lambda one: ("v", one)),
        inner.map(lambda one: (f"a{one[0]}", [one[1], one[1]])),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda some: (f"({''.join(kind for kind, _ in some)})", tuple(value for _, value in some))
        ),
        inner.map(lambda one: (f"a{{s{one[0]}}}", {"key": one[1]})),
    ),
    max_leaves=6,
)


@given(st.lists(_any, max_size=4))
def test_round_trip(values: list[tuple[str, object]]):
    signature = "".join(kind for kind, _ in values)
    plain = [value for _, value in values]
    assert dbus.unmarshal(signature, dbus.marshal(signature, plain)) == plain


@pytest.mark.parametrize(
    ("signature", "data"), [("s", b"\xff\0\0\0ab"), ("au", b"\xff\xff\0\0"), ("t", b"\1"), ("a", b"\0\0\0\0")]
)
def test_what_is_cut_off_is_an_error(signature: str, data: bytes):
    with pytest.raises(ValueError, match=r"message|signature"):
        dbus.unmarshal(signature, data)
