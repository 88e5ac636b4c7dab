"""How `stop` and `restart` are told to stop."""

import signal

import pytest

from atoll.base import errors
from atoll.cli import restart, stop
from atoll.cli.options import parse
from atoll.cli.stopping import how


@pytest.mark.parametrize("command", [stop.COMMAND, restart.COMMAND], ids=["stop", "restart"])
@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ([], (None, None)),
        (["-t", "3"], (None, 3)),
        (["--timeout", "4", "-s", "SIGINT"], (signal.SIGINT, 4)),
        (["--timeout", "4", "--time", "-1"], (None, -1)),
        (["--signal", "9"], (signal.SIGKILL, None)),
    ],
)
def test_signal_and_seconds(command, words, meant):
    assert how(parse(command, [*words, "web"])) == meant


def test_no_such_signal():
    with pytest.raises(errors.InvalidArgument):
        how(parse(stop.COMMAND, ["-s", "ODD", "web"]))
