import pytest

from atoll.base import timing


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(timing, "_on", False)
    monkeypatch.setattr(timing, "_marks", [])
    monkeypatch.setattr(timing, "_inner", [])


def test_nothing_is_measured_unless_asked(capsys):
    timing.mark("a")
    timing.put("inside", [["b", 1.0]])
    timing.report()
    assert timing.take() is None
    assert capsys.readouterr().err == ""


def test_steps_of_another_process_lie_inside_ours(capsys):
    timing.begin()
    timing.mark("clone")
    timing.put("init", [["mounts", 2.5], "nonsense", []])
    taken = timing.take()
    assert [name for name, _ in taken] == ["clone", "init: mounts"]
    assert taken[1][1] == 2.5
    timing.begin()
    timing.mark("launch")
    timing.put("created", taken)
    timing.report()
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit(" ", 1)[0] for line in lines] == [
        "atoll-timing: begin",
        "atoll-timing: launch",
        "atoll-timing-inside: created: clone",
        "atoll-timing-inside: created: init: mounts",
        "atoll-timing: total",
    ]
    assert all(float(line.rsplit(" ", 1)[1]) >= 0 for line in lines)
