"""CRIU's messages: the bytes of the specification, and back; what of a container lies outside of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.runtime.command import template
from atoll.runtime.criu import external, protobuf, rpc
from atoll.runtime.plan import CgroupMount
from atoll.spec.runtime import Mount, Namespace


def test_bytes_of_the_specification():
    assert protobuf.encode({1: 150}) == b"\x08\x96\x01"
    assert protobuf.encode({2: "testing"}) == b"\x12\x07testing"
    assert protobuf.encode({3: {1: 150}}) == b"\x1a\x03\x08\x96\x01"
    assert protobuf.encode({1: -2}) == b"\x08\xfe" + b"\xff" * 8 + b"\x01"
    assert protobuf.encode({1: True, 2: None, 3: ["a", "b"]}) == b"\x08\x01\x1a\x01a\x1a\x01b"


_values = st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.binary(max_size=40))


@given(st.dictionaries(st.integers(1, 2000), _values, max_size=8))
def test_round_trip(fields: dict[int, int | bytes]):
    assert protobuf.decode(protobuf.encode(fields)) == fields


@pytest.mark.parametrize("data", [b"\x08", b"\x12\x07abc", b"\x0b", b"\x08" + b"\xff" * 11, b"\x09\0\0"])
def test_what_is_cut_off_is_an_error(data: bytes):
    with pytest.raises(ValueError, match=r"message|number"):
        protobuf.decode(data)


def test_the_numbers_are_those_of_criu():
    with open("/usr/include/criu/rpc.proto") as stream:
        options = stream.read().partition("message criu_opts {")[2].partition("\n}")[0]
    words = [line.split() for line in options.splitlines() if line.strip().startswith(("opt", "req", "rep"))]
    known = {line[2]: int(line[4].rstrip(";")) for line in words}
    assert {name: known[name] for name in rpc.FIELDS} == rpc.FIELDS


def test_what_lies_outside(tmp_path):
    good = template.root()
    spec = good.replace(
        mounts=(
            Mount(destination="/data", type="bind", source="vol", options=("rbind",)),
            Mount(destination="/sys/fs/cgroup", type="cgroup"),
            Mount(destination="/tmp", type="tmpfs"),
        ),
        linux=good.linux.replace(
            masked_paths=("/proc/version", "/proc/sys", "/etc/secret"),
            namespaces=(Namespace(type="network", path="/proc/self/ns/net"), Namespace(type="mount")),
        ),
    )
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/secret").write_text("x")
    shown = (CgroupMount(name="pids", fstype="cgroup"), CgroupMount(name="memory", fstype="cgroup"))
    assert external.mounts(spec, "/bundle", shown, str(tmp_path)) == [
        ("/data", "/bundle/vol"),
        ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/pids"),
        ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory"),
        ("/proc/version", "/dev/null"),
        ("/etc/secret", "/dev/null"),
    ]
    assert external.namespaces(spec) == [("extRootNetNS", "/proc/self/ns/net")]
    (named,) = external.dumped(spec)
    assert named.startswith("net[")
    assert named.endswith("]:extRootNetNS")
