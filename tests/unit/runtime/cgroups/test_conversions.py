"""Resources as writes: the scales, the swap arithmetic, what is refused and by which name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.runtime.cgroups import settings, v1, v2
from atoll.spec.runtime import (
    CPU,
    BlockIO,
    HugepageLimit,
    Memory,
    NetworkResources,
    Pids,
    Rdma,
    ThrottleDevice,
    WeightDevice,
)

sizes = st.integers(1, 1 << 62)


def written(todo):
    return [(setting.file, setting.text) for setting in todo]


def test_weight_meets_the_three_points():
    assert [v2.weight_from_shares(n) for n in (0, 2, 1024, 262144, 1 << 63)] == [1, 1, 100, 10_000, 10_000]


@pytest.mark.parametrize(("shares", "weight"), [(2000, 170), (22000, 1204)])
def test_weight_is_what_runc_writes(shares, weight):
    """opencontainers/runc#4896, youki-dev/youki#3274."""
    assert v2.weight_from_shares(shares) == weight


@given(st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_weight_is_in_range_and_grows_with_shares(one, two):
    low, high = sorted((one, two))
    assert 1 <= v2.weight_from_shares(low) <= v2.weight_from_shares(high) <= 10_000


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_io_weight_is_in_range_and_grows(one, two):
    low, high = sorted((one, two))
    assert 1 <= v2.weight_from_block_io(low) <= v2.weight_from_block_io(high) <= 10_000
    assert v2.weight_from_block_io(10) == 1
    assert v2.weight_from_block_io(1000) == 10_000


@given(sizes, sizes)
def test_swap_is_the_sum_on_v1_and_the_difference_on_v2(limit, swap):
    memory = Memory(limit=limit, swap=swap)
    if swap < limit:
        for convert in (v1.memory, v2.memory):
            with pytest.raises(errors.InvalidArgument, match="swap"):
                convert(memory)
        return
    assert dict(written(v1.memory(memory))) == {
        "memory.limit_in_bytes": str(limit),
        "memory.memsw.limit_in_bytes": str(swap),
    }
    assert dict(written(v2.memory(memory))) == {"memory.max": str(limit), "memory.swap.max": str(swap - limit)}


def test_unlimited_memory_takes_the_limit_off_swap_too():
    assert written(v1.memory(Memory(limit=-1))) == [
        ("memory.limit_in_bytes", "-1"),
        ("memory.memsw.limit_in_bytes", "-1"),
    ]
    assert written(v2.memory(Memory(limit=-1))) == [("memory.swap.max", "max"), ("memory.max", "max")]


def test_an_update_of_swap_alone_counts_from_the_limit_in_force():
    assert written(v2.memory(Memory(swap=300), update=True, present_limit=100)) == [("memory.swap.max", "200")]
    with pytest.raises(errors.InvalidArgument, match="swap"):
        v2.memory(Memory(swap=300), update=True, present_limit=-1)


@pytest.mark.parametrize("memory", [Memory(limit=-2), Memory(swap=100), Memory(limit=1, swappiness=101)])
def test_contradictions_are_refused_everywhere(memory):
    for convert in (v1.memory, v2.memory):
        with pytest.raises(errors.InvalidArgument, match=r"linux\.resources\.memory\."):
            convert(memory)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: v2.memory(Memory(swappiness=10)), "memory.swappiness"),
        (lambda: v2.memory(Memory(disable_oom_killer=True)), "memory.disableOOMKiller"),
        (lambda: v2.cpu(CPU(realtime_runtime=5)), "cpu.realtimeRuntime"),
        (lambda: v2.network(NetworkResources(class_id=1)), "network.classID"),
        (lambda: v2.block_io(BlockIO(leaf_weight=10)), "blockIO.leafWeight"),
    ],
)
@pytest.mark.spec("config-linux#unified.conversion")
def test_what_v2_lacks_is_refused_by_name(call, name):
    with pytest.raises(errors.Unsupported, match=f"linux.resources.{name}"):
        call()


def test_zero_and_absent_mean_not_given():
    assert v1.memory(Memory(limit=0, swap=0, reservation=0, kernel=5, use_hierarchy=False)) == []
    assert v2.memory(Memory(limit=0, disable_oom_killer=False)) == []
    assert v1.cpu(CPU(shares=0, quota=0, period=0)) == []
    assert v2.cpu(CPU(shares=0, quota=0, period=0)) == []
    assert v2.network(NetworkResources()) == []


@given(
    st.sampled_from([None, -1, 1000, 70000]),
    st.sampled_from([None, 1000, 50000]),
    st.sampled_from(["", "max 100000", "5000 9000"]),
)
def test_the_half_of_cpu_max_that_is_not_asked_for_stays(quota, period, present):
    todo = written(v2.cpu(CPU(quota=quota, period=period), present_max=present))
    if quota is None and period is None:
        assert todo == []
        return
    old = present.split() or ["max", "100000"]
    wanted = (
        old[0] if quota is None else "max" if quota == -1 else str(quota),
        old[1] if period is None else str(period),
    )
    assert todo == [("cpu.max", " ".join(wanted))]


def test_an_idle_group_gets_no_weight():
    assert written(v1.cpu(CPU(idle=1, shares=512))) == [("cpu.idle", "1")]
    assert written(v2.cpu(CPU(idle=0, shares=1024))) == [("cpu.idle", "0"), ("cpu.weight", "100")]


@given(st.integers(-5, 1 << 40))
def test_pids(limit):
    assert written(v1.pids(Pids(limit=limit))) == [("pids.max", str(limit) if limit > 0 else "max")]


def test_block_io_of_both_versions():
    asked = BlockIO(
        weight=500,
        weight_device=(WeightDevice(major=8, minor=0, weight=10),),
        throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=1000),),
        throttle_write_iops_device=(ThrottleDevice(major=8, minor=16, rate=0),),
    )
    assert written(v1.block_io(asked)) == [
        ("blkio.weight", "500"),
        ("blkio.weight_device", "8:0 10"),
        ("blkio.throttle.read_bps_device", "8:0 1000"),
        ("blkio.throttle.write_iops_device", "8:16 0"),
    ]
    assert [setting.fallback for setting in v2.block_io(asked)][:2] == [
        ("io.weight", "default 4950"),
        ("io.weight", "8:0 1"),
    ]
    assert written(v2.block_io(asked))[2:] == [("io.max", "8:0 rbps=1000"), ("io.max", "8:16 wiops=max")]


@given(st.text(max_size=8))
def test_page_sizes_name_no_other_file(size):
    try:
        todo = v1.hugetlb((HugepageLimit(page_size=size, limit=1),))
    except errors.InvalidArgument:
        return
    assert size[:-2].isdecimal()
    assert [one.file for one in todo] == [f"hugetlb.{size}.rsvd.limit_in_bytes", f"hugetlb.{size}.limit_in_bytes"]


@pytest.mark.spec("config-linux#hugepageLimits.fall-back")
def test_reservations_are_limited_where_the_kernel_counts_them(tmp_path):
    limits = (HugepageLimit(page_size="2MB", limit=5),)
    for convert, end in ((v1.hugetlb, "limit_in_bytes"), (v2.hugetlb, "max")):
        (tmp_path / f"hugetlb.2MB.{end}").write_text("")
        settings.apply(convert(limits), lambda _: str(tmp_path), rootless=False)
        assert (tmp_path / f"hugetlb.2MB.{end}").read_text() == "5"
        (tmp_path / f"hugetlb.2MB.rsvd.{end}").write_text("")
        settings.apply(convert(limits), lambda _: str(tmp_path), rootless=False)
        assert (tmp_path / f"hugetlb.2MB.rsvd.{end}").read_text() == "5"


@pytest.mark.spec("config-linux#rdma.one", "config-linux#blockIO.weight")
def test_entries_that_say_nothing_are_refused():
    with pytest.raises(errors.InvalidArgument, match=r"rdma\.mlx4_0 has neither"):
        v1.rdma((("mlx4_0", Rdma()),))
    for convert in (v1.block_io, v2.block_io):
        with pytest.raises(errors.InvalidArgument, match="8:0 has neither"):
            convert(BlockIO(weight_device=(WeightDevice(major=8, minor=0),)))


def test_rdma_and_network():
    assert written(v1.rdma((("mlx4_0", Rdma(hca_handles=2, hca_objects=3)),))) == [
        ("rdma.max", "mlx4_0 hca_handle=2 hca_object=3")
    ]
    with pytest.raises(errors.InvalidArgument):
        v1.rdma((("a b", Rdma(hca_handles=1)),))


@given(st.text(max_size=30), st.text(max_size=30))
def test_unified_writes_limits_only(name, value):
    try:
        todo = v2.unified(((name, value),))
    except errors.InvalidArgument:
        return
    for setting in todo:
        assert "/" not in setting.file
        assert "\n" not in setting.text
        assert setting.controller == setting.file.split(".")[0]


@pytest.mark.parametrize(
    "name",
    [
        "cgroup.procs",
        "cgroup.kill",
        "cgroup.subtree_control",
        "cgroup.freeze",
        "../x.y",
        "memory",
        ".max",
        "a..b",
        "a/b.c",
    ],
)
def test_unified_refuses_what_is_no_limit(name):
    with pytest.raises(errors.InvalidArgument, match=r"linux\.resources\.unified"):
        v2.unified(((name, "1"),))


def test_unified_line_by_line():
    todo = v2.unified((("io.max", "8:0 rbps=1\n8:16 rbps=2\n"), ("cgroup.max.depth", "3")))
    assert written(todo) == [("io.max", "8:0 rbps=1"), ("io.max", "8:16 rbps=2"), ("cgroup.max.depth", "3")]


# --- carrying out: a made-up directory for what this kernel cannot show -------------------------------------------


def test_a_missing_file_is_named_with_its_property_and_a_way_out(tmp_path):
    todo = v1.memory(Memory(limit=100, swap=200))
    (tmp_path / "memory.limit_in_bytes").write_text("")
    with pytest.raises(errors.Unsupported, match=r"memory\.swap.*swapaccount=1"):
        settings.apply(todo, lambda _: str(tmp_path), rootless=False)


def test_a_missing_swap_file_is_fine_for_what_holds_anyway(tmp_path):
    (tmp_path / "memory.max").write_text("")
    settings.apply(v2.memory(Memory(limit=100, swap=100)), lambda _: str(tmp_path), rootless=False)
    assert (tmp_path / "memory.max").read_text() == "100"


def test_the_other_file_is_tried(tmp_path):
    (tmp_path / "io.weight").write_text("")
    settings.apply(v2.block_io(BlockIO(weight=1000)), lambda _: str(tmp_path), rootless=False)
    assert (tmp_path / "io.weight").read_text() == "default 10000"


def test_no_controller_is_unsupported_for_root_and_denied_with_a_command_for_others():
    todo = v1.pids(Pids(limit=5))
    with pytest.raises(errors.Unsupported, match=r"pids\.limit needs the pids"):
        settings.apply(todo, lambda _: None, rootless=False)
    with pytest.raises(errors.Denied, match=r"pids\.limit needs the pids.*chown"):
        settings.apply(todo, lambda _: None, rootless=True)


def test_links_are_not_followed(tmp_path):
    (tmp_path / "secret").write_text("before")
    (tmp_path / "pids.max").symlink_to(tmp_path / "secret")
    with pytest.raises(errors.AtollError):
        settings.apply(v1.pids(Pids(limit=5)), lambda _: str(tmp_path), rootless=False)
    assert (tmp_path / "secret").read_text() == "before"
