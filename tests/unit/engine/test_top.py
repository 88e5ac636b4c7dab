"""Picking a container's lines out of ps, and what is read where there is no ps."""

from __future__ import annotations

import os

import pytest

from atoll.base import errors
from atoll.engine.containers import stats, top
from atoll.runtime import processes


def test_lines_are_picked_by_pid():
    text = "USER  PID COMMAND\nroot    1 init x y\nroot   12 sh -c a  b\n\nroot  112 no\n"
    assert top.pick(text, [12]) == top.Top(titles=("USER", "PID", "COMMAND"), rows=(("root", "12", "sh -c a  b"),))
    assert top.pick("PID\n", [1]).rows == ()
    for wrong in ("", "USER COMMAND\n"):
        with pytest.raises(errors.InvalidArgument):
            top.pick(wrong, [1])


@pytest.mark.parametrize("words", [("-o", "pid=X,comm"), ("-opid=Y",), ("-o", "comm,pid=")])
def test_the_pid_keeps_its_heading(words):
    with pytest.raises(errors.InvalidArgument):
        top._check(words)


def test_the_columns_without_ps():
    shown = top._shown(processes.look([os.getpid(), 1 << 22]))
    assert len(shown.titles) == 8
    assert [row[1] for row in shown.rows] == [str(os.getpid())]
    assert "python" in shown.rows[0][7]


def test_two_looks_make_a_share():
    before = stats.Sample(id="1", name="a", up=True, at=0, cpu=100, memory=10, limit=40, pids=1)
    now = before.replace(at=1000, cpu=600)
    used = stats.between(before, now)
    assert (used.cpu, used.memory_share) == (50.0, 25.0)
    assert stats.between(None, now).cpu is None
    ended = stats.between(before, stats.Sample(id="1", name="a", up=False, at=2000))
    assert (ended.cpu, ended.memory, ended.pids) == (0.0, 0, 0)
