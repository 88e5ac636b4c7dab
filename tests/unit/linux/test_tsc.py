import os

import pytest

from atoll.linux import tsc


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="a counter of x86")
def test_the_counter_counts_as_fast_each_time():
    found = sorted(tsc.khz() for _ in range(5))
    assert found[2] > 100_000
    assert abs(found[3] - found[1]) < found[2] / 1000


def test_another_processor_has_none(monkeypatch):
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.1", "#1", "aarch64")))
    assert tsc.khz() == 0


def test_a_system_that_lets_nobody_make_code(monkeypatch):
    def refuse(*_args, **_how):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tsc.mmap, "mmap", refuse)
    assert tsc.khz() == 0
