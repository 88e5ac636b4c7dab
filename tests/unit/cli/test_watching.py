"""What looks again: the two looks of `--no-stream`, the end by Ctrl-C."""

import pytest

from atoll.cli import watching
from atoll.cli.options import parse
from atoll.cli.stats import COMMAND


@pytest.fixture
def pauses(monkeypatch):
    """A pause takes no time; what is appended here is raised by it."""
    raises: list[BaseException] = []

    def sleep(seconds):
        if raises:
            raise raises.pop()

    monkeypatch.setattr(watching.time, "sleep", sleep)
    return raises


def looks():
    numbers = iter(range(100))
    return lambda: {"one": next(numbers)}


def test_once_after_two_looks(capsys, pauses):
    given = parse(COMMAND, ["--no-stream"])
    assert watching.watch(given, looks(), lambda before, now: f"{before} {now}\n") == 0
    assert capsys.readouterr().out == "{'one': 0} {'one': 1}\n"


def test_until_interrupted(capsys, pauses):
    given = parse(COMMAND, [])

    def shown(before, now):
        if now["one"] == 2:
            pauses.append(KeyboardInterrupt())
        return f"{before} {now}\n"

    assert watching.watch(given, looks(), shown) == 130
    assert capsys.readouterr().out == "{} {'one': 0}\n{'one': 0} {'one': 1}\n{'one': 1} {'one': 2}\n"
