"""Finding the hierarchies: real shapes of mountinfo and /proc/<pid>/cgroup, and hostile ones."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from atoll.runtime.cgroups import detect

HYBRID = b"""31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/x/y,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:32 /a /mnt/again rw,relatime - cgroup cgroup rw,memory
"""
HYBRID_OWN = b"3:name=systemd:/\n2:memory:/api/7\n1:cpu,cpuacct:/\n0::/deep/er\n"


def made(tmp_path, mountinfo, own):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_bytes(mountinfo)
    (tmp_path / "proc/self/cgroup").write_bytes(own)
    return str(tmp_path)


def test_hybrid(tmp_path):
    root = made(tmp_path, HYBRID, HYBRID_OWN)
    (tmp_path / "sys/fs/cgroup/unified").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/unified/cgroup.controllers").write_text("hugetlb\n")
    found = detect.detect(root)
    assert found.kind == detect.HYBRID
    assert [m.controllers for m in found.v1] == [("cpu", "cpuacct"), ("memory",), ("name=systemd",)]
    assert found.find("memory").own == "api/7"
    assert found.find("memory").path == f"{root}/sys/fs/cgroup/memory"  # the first mount, not the view of a part
    assert found.unified.controllers == ("hugetlb",)
    assert found.unified.own == "deep/er"


def test_v2_in_a_container_without_cgroup_namespace(tmp_path):
    line = b"31 23 0:28 /docker/x /sys/fs/cgroup ro,relatime - cgroup2 cgroup rw\n"
    found = detect.detect(made(tmp_path, line, b"0::/docker/x/inner\n"))
    assert found.kind == detect.V2
    assert found.unified.own == "inner"


def test_a_place_outside_of_the_view_is_none(tmp_path):
    line = b"31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
    assert detect.detect(made(tmp_path, line, b"0::/../outside\n")).unified.own is None


def test_nothing_mounted(tmp_path):
    assert detect.detect(made(tmp_path, b"", b"")).kind == detect.NONE


@given(st.binary(max_size=300), st.sampled_from([b" - cgroup cgroup rw,memory", b" - cgroup2 x rw", b" - cgroup"]))
def test_hostile_mountinfo_never_raises(noise, tail):
    for content in (noise, noise + tail, b"1 2 0:3 / /x rw" + tail + noise, b"\n".join((HYBRID, noise, tail))):
        detect.parse_mountinfo(content)


@given(st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=20))
def test_escaped_mount_points_come_back(name):
    raw = name.encode()
    for byte in (b"\\", b" ", b"\t", b"\n"):
        raw = raw.replace(byte, b"\\%03o" % byte[0])
    line = b"31 23 0:28 / /mnt/" + raw + b" rw - cgroup2 cgroup rw"
    assert detect.parse_mountinfo(line) == [("/", "/mnt/" + name, None)]


@given(st.binary(max_size=200))
def test_hostile_own_cgroups_never_raise(noise):
    detect.parse_own(noise)
    detect.parse_own(HYBRID_OWN + noise)


@given(st.binary(min_size=1, max_size=30).filter(lambda b: b"\n" not in b and not b.endswith(b" (deleted)")))
def test_a_cgroup_may_be_called_anything(name):
    found = detect.parse_own(b"2:memory:/" + name + b"\n0::/x:y\n")
    assert os.fsencode(found[("memory",)]) == b"/" + name
    assert found[()] == "/x:y"


def test_delegated_is_what_may_be_written(tmp_path):
    v1, unified = tmp_path / "memory", tmp_path / "unified"
    for place in (v1 / "me", unified / "me"):
        place.mkdir(parents=True)
    (unified / "me/cgroup.controllers").write_text("pids hugetlb\n")
    (unified / "me/cgroup.procs").write_text("")
    hierarchy = detect.Hierarchy(
        v1=(detect.Mount(controllers=("memory",), path=str(v1), own="me"),),
        unified=detect.Mount(controllers=("pids",), path=str(unified), own="me"),
    )
    assert detect.delegated(hierarchy) == {"memory", "unified", "pids", "hugetlb"}
    assert detect.delegated(hierarchy, "/nowhere") == set()
