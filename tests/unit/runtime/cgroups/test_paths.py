"""Paths of cgroups: none leaves its hierarchy."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.runtime.cgroups import paths
from atoll.runtime.cgroups.detect import Hierarchy, Mount

HIERARCHY = Hierarchy(
    v1=(
        Mount(controllers=("memory",), path="/cg/memory", own="own/deep"),
        Mount(controllers=("pids",), path="/cg/pids", own=None),
    ),
    unified=Mount(controllers=(), path="/cg/unified", own=""),
)


@given(st.text(st.sampled_from("./a\n\0 é"), max_size=12) | st.text(max_size=20))
def test_no_path_climbs_out(path):
    try:
        cleaned = paths.clean(path)
    except errors.InvalidArgument:
        return
    v1, unified = paths.directories(cleaned, HIERARCHY)
    for mount, place in [*v1, (HIERARCHY.unified, unified)]:
        assert os.path.normpath(place) == place
        assert place.startswith(mount.path + "/")


@pytest.mark.parametrize("path", ["", "/", "../x", "/a/../b", "a/..", "/.", "a\nb", "x" * 256])
def test_refused(path):
    with pytest.raises(errors.InvalidArgument):
        paths.clean(path)


def test_absolute_from_the_top_and_relative_from_our_own():
    assert paths.directories("/a/b", HIERARCHY)[0][0][1] == "/cg/memory/a/b"
    v1, unified = paths.directories("b", HIERARCHY)
    assert [place for _, place in v1] == ["/cg/memory/own/deep/b"]  # pids: our place is out of sight
    assert unified == "/cg/unified/b"


def test_defaults():
    assert paths.default_path("x") == "/atoll/x"
    assert paths.default_path("x", parent="/ci//7/") == "/ci/7/x"
    assert paths.default_path("x", parent="ci") == "ci/x"
    assert paths.default_path("x", rootless=True) == "atoll-x"


def test_v2_goes_below_the_nearest_ancestor_without_processes(tmp_path):
    inner = tmp_path / "user/app"
    (inner / "scope").mkdir(parents=True)
    (inner / "scope/cgroup.procs").write_text("7\n")
    (inner / "cgroup.procs").write_text("")
    mount = Mount(controllers=(), path=str(tmp_path), own="user/app/scope")
    assert paths.base_directory(mount, None, unified=True) == str(inner)
    (inner / "cgroup.procs").write_text("8\n")
    (inner.parent / "cgroup.procs").write_text("9\n")
    assert paths.base_directory(mount, None, unified=True) == str(inner / "scope")
