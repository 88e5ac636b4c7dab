"""Reading what a rung answered: files that are the host's, calls that pass."""

from __future__ import annotations

from atoll.compare.wall.calls import reached
from atoll.compare.wall.files import FILES, NEAR, SAME, File, shows


def test_the_same_text_is_the_host_s():
    one = File(path="/x", how=SAME, tells="")
    assert shows(one, b"abc", b"abc")
    assert not shows(one, b"abd", b"abc")
    assert not shows(one, b"", b"")
    assert not shows(one, b"abc", b"")


def test_counters_may_have_gone_on():
    one = File(path="/proc/uptime", how=NEAR, tells="")
    assert shows(one, b"100000.10 5.0", b"100002.30 7.0")
    assert not shows(one, b"12.0 5.0", b"100002.30 90000.0")
    meminfo = File(path="/proc/meminfo", how=NEAR, tells="")
    assert shows(meminfo, b"MemTotal: 1000000 kB\nMemFree: 500000 kB", b"MemTotal: 1000000 kB\nMemFree: 500100 kB")
    assert not shows(meminfo, b"MemTotal: 250000 kB\nMemFree: 90000 kB", b"MemTotal: 1000000 kB\nMemFree: 500000 kB")


def test_every_file_is_named_once():
    assert len({one.path for one in FILES}) == len(FILES)
    assert all(one.how in (SAME, NEAR) for one in FILES)


def test_answers_are_sorted():
    names = {
        "read": 0,
        "kexec_load": 1,
        "exit_group": 2,
        "ptrace": 3,
        "absent": 4,
        "socket": 5,
        "pause": 6,
        "far": 90,
    }
    answers = bytes((38, 38, 9)) + bytes((38, 38, 255)) + bytes((0, 1, 255)) + bytes((1, 1, 255))
    answers += bytes((38, 38, 38)) + bytes((97, 38, 22)) + bytes((38, 38, 254))
    found = reached(answers, names)
    assert found.passed == ("read", "kexec_load", "exit_group", "socket", "pause")
    assert found.refused == ("ptrace",)
    assert found.absent == ("absent",)
