"""Which files of a cgroup change hands."""

from __future__ import annotations

import os

import pytest

from atoll.runtime.cgroups import settings
from atoll.runtime.cgroups.cgroup import Cgroup


@pytest.mark.spec("config-linux#cgroup-ownership.no-list", "config-linux#cgroup-ownership.missing-files")
@pytest.mark.parametrize("listed", [None, "cgroup.procs\nmemory.oom.group\nmemory.reclaim"])
def test_the_files_that_the_kernel_lists_or_the_three_of_old(tmp_path, monkeypatch, listed):
    """`memory.reclaim` is listed and absent, which is no failure; `memory.max` is nobody's to give."""
    for name in ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "memory.oom.group", "memory.max"):
        (tmp_path / name).write_text("")
    given = []

    def chown(path, uid, gid, follow_symlinks):
        os.lstat(path)
        given.append((os.path.basename(path.rstrip("/")), uid, gid, follow_symlinks))

    def read(path):
        assert path == "/sys/kernel/cgroup/delegate"
        if listed is None:
            raise FileNotFoundError(path)
        return listed

    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(settings, "read", read)
    Cgroup(path="/x", v1=(), unified=str(tmp_path)).give(7, -1)
    assert {entry[1:] for entry in given} == {(7, -1, False)}
    names = {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control"}
    assert {entry[0] for entry in given} == {tmp_path.name} | (
        names if listed is None else {"cgroup.procs", "memory.oom.group"}
    )
