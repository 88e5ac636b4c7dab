"""The rarer limits: what they read as, what contradicts itself, what the host has no room for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.engine.containers import limits
from atoll.engine.containers.limits import DeviceValue, Limits, Ulimit, parse_list, parse_ulimit
from atoll.engine.containers.plan import Facts
from atoll.engine.containers.plan_record import need
from atoll.engine.requests import RunRequest
from atoll.spec import codec
from atoll.spec import runtime as oci

ROOT = Facts(uid=0, hostname="m", cpus=2, highest_cpu=1, rlimits=(("nofile", 100), ("core", -1)))
USER = ROOT.replace(uid=7, delegated=frozenset(("memory",)), may_raise_rlimits=False)


def check(asked, facts=ROOT, **request):
    return limits.check(asked, RunRequest(image="i", limits=asked, **request), facts, need)


def test_ulimits():
    assert parse_ulimit("nofile=10") == Ulimit(name="nofile", soft=10, hard=10)
    assert parse_ulimit("nofile=10:20") == Ulimit(name="nofile", soft=10, hard=20)
    assert parse_ulimit("core=-1") == Ulimit(name="core", soft=-1, hard=-1)
    for wrong in ("nofile", "files=3", "nofile=", "nofile=20:10", "nofile=1:2:3", "nofile=-1:5", "nofile=x"):
        with pytest.raises(errors.InvalidArgument):
            parse_ulimit(wrong)


def test_a_hard_limit_that_cannot_be_raised_is_what_there_is_and_told():
    asked = Limits(ulimits=(parse_ulimit("nofile=50:200"), parse_ulimit("core=-1")))
    assert check(asked) == []
    warnings = check(asked, USER)
    assert len(warnings) == 1
    assert "only 100 is allowed here" in warnings[0]
    assert "CAP_SYS_RESOURCE" in warnings[0]
    assert limits.rlimits(asked, USER)[0] == oci.Rlimit(type="RLIMIT_NOFILE", soft=50, hard=100)
    assert limits.rlimits(asked, ROOT)[0].hard == 200


def test_lists_of_cpus():
    assert parse_list("0-1,0", "cpuset-cpus", 1) == "0-1,0"
    with pytest.raises(
        errors.InvalidArgument, match="Requested CPUs are not available - requested 0-7, available: 0-1"
    ):
        parse_list("0-7", "cpuset-cpus", 1)
    for wrong in ("", "a", "1-0", "0,", "-1", "0--1"):
        with pytest.raises(errors.InvalidArgument):
            parse_list(wrong, "cpuset-cpus", 9)


@pytest.mark.parametrize(
    ("asked", "request_", "message"),
    [
        ({"cpu_quota": 1000}, {"cpus": 10**9}, "Nano CPUs and CPU Quota cannot both be set"),
        ({"cpu_period": 10}, {}, "CPU cfs period"),
        ({"cpu_quota": 10}, {}, "CPU cfs quota"),
        ({"cpu_shares": 1}, {}, "cpu-shares"),
        ({"memory_swap": 10 << 20}, {}, "always set the Memory limit"),
        ({"memory_swap": 10 << 20}, {"memory": 20 << 20}, "larger than memory limit"),
        ({"memory_reservation": 30 << 20}, {"memory": 20 << 20}, "can not be less than memory reservation"),
        ({"memory_swappiness": 101}, {}, "valid memory swappiness range is 0-100"),
        ({"oom_score_adj": 1001}, {}, r"range for oom score adj is \[-1000, 1000\]"),
        ({"blkio_weight": 5}, {}, "range of blkio weight"),
        ({"cpu_rt_runtime": 5, "cpu_rt_period": 4}, {}, "real-time"),
    ],
)
def test_contradictions(asked, request_, message):
    with pytest.raises(errors.InvalidArgument, match=message):
        check(Limits(**asked), **request_)


def test_what_is_not_delegated_is_named_by_its_flag():
    with pytest.raises(errors.Denied, match="--cpu-shares: the cpu cgroup controller"):
        check(Limits(cpu_shares=100), USER)
    with pytest.raises(errors.Denied, match="--oom-score-adj to -5"):
        check(Limits(oom_score_adj=-5), USER)
    assert check(Limits(blkio_weight=100), USER.replace(delegated=frozenset(("io",)))) == []
    assert check(Limits(memory_reservation=10 << 20), USER) == []


def test_the_document():
    asked = Limits(cpu_shares=5, memory_swap=-1, memory_swappiness=3, blkio_weight=20, cpuset_cpus="0",
                   device_read_bps=(DeviceValue(path="/dev/x", major=8, minor=1, value=9),))  # fmt: skip
    found = limits.resources(asked, oci.Resources(memory=oci.Memory(limit=9)), unified=False)
    assert found.memory == oci.Memory(limit=9, swap=-1, swappiness=3)
    assert (found.cpu.shares, found.cpu.cpus) == (5, "0")
    assert found.block_io.throttle_read_bps_device == (oci.ThrottleDevice(major=8, minor=1, rate=9),)
    assert limits.resources(asked, oci.Resources(), unified=True).memory.swappiness is None
    assert limits.resources(Limits(), oci.Resources(), unified=False) == oci.Resources()


@given(st.text(max_size=20))
def test_no_text_breaks_the_grammars(text):
    for parser in (parse_ulimit, lambda t: parse_list(t, "cpuset-mems", 3),
                   lambda t: limits.parse_device_value(t, limits.bytes_of)):  # fmt: skip
        try:
            parser(text)
        except errors.AtollError:
            pass


@given(
    st.builds(
        Limits,
        cpu_shares=st.none() | st.integers(2, 1000),
        cpuset_cpus=st.none() | st.just("0-1"),
        oom_kill_disable=st.booleans(),
        ulimits=st.lists(st.builds(Ulimit, name=st.just("core"), soft=st.just(-1), hard=st.just(-1)), max_size=2).map(
            tuple
        ),
    )
)
def test_what_is_kept_comes_back(asked):
    assert codec.parse(Limits, codec.dump(asked), "") == asked
