"""Parsers of the kernel's counters: true to what it writes, calm about anything else; the record of a cgroup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors, jsontext
from atoll.runtime.cgroups import stats
from atoll.runtime.cgroups.cgroup import Cgroup


@given(st.text(max_size=200))
def test_hostile_content_never_raises(text):
    stats.parse_pairs(text)
    stats.parse_blkio(text)
    stats.parse_io_stat(text)
    stats.parse_pressure(text)
    stats.number(text)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.integers(0, 1 << 62)))
def test_pairs_come_back(pairs):
    assert stats.parse_pairs("\n".join(f"{key} {value}" for key, value in pairs.items())) == pairs


def test_io_stat():
    text = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n253:7 rbytes=9\nnonsense\n"
    first, second = stats.parse_io_stat(text)
    assert (first.read_bytes, first.write_bytes, first.read_ios, first.write_ios) == (1, 2, 3, 4)
    assert (second.major, second.minor, second.read_bytes, second.write_bytes) == (253, 7, 9, 0)


def test_blkio():
    assert stats.parse_blkio("8:0 Read 5\n8:0 Write 6\nTotal 11\n") == {(8, 0): {"Read": 5, "Write": 6}}


def test_pressure():
    some, full = stats.parse_pressure("some avg10=1.50 avg60=0.00 avg300=0.10 total=42\nfull avg10=x total=1\n")
    assert (some.avg10, some.avg300, some.total) == (1.5, 0.1, 42_000)
    assert full is None


def test_a_record_comes_back():
    one = Cgroup(
        path="/atoll/x",
        v1=((("cpu", "cpuacct"), "/cg/cpu/atoll/x"),),
        unified="/cg/unified/atoll/x",
        enabled=("hugetlb",),
        rootless=True,
    )
    again = Cgroup.from_json(jsontext.loads(jsontext.dumps(one.to_json())))
    assert again.to_json() == one.to_json()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "v1", "unified", "enabled", "rootless"]), inner)
    ),
    max_leaves=8,
)


@given(json_values)
def test_damaged_records_are_corrupt(wire):
    try:
        Cgroup.from_json(wire)
    except errors.Corrupt:
        pass


def test_a_record_cannot_point_elsewhere():
    wire = Cgroup(path="/x", unified="/sys/fs/cgroup/x").to_json()
    for place in ("relative", "/sys/fs/cgroup/../../../etc"):
        with pytest.raises(errors.Corrupt):
            Cgroup.from_json({**wire, "unified": place})


def test_an_empty_cgroup_does_nothing():
    one = Cgroup(path="x", rootless=True)
    assert one.empty
    one.add(1)
    assert one.kill() is False
    assert one.pids() == []
    assert not one.frozen()
    assert one.oom_kills() == 0
    assert one.open_dir() is None
    assert one.open_oom_events() is None
    one.delete()
    with pytest.raises(errors.Denied, match="pause needs"):
        one.freeze()
    assert one.stats().memory.usage is None
