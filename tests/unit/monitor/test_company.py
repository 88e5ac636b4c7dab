"""The end of a process' output."""

from __future__ import annotations

import itertools
import os

import pytest

from atoll.monitor import company
from atoll.monitor.protocol import STDOUT


@pytest.mark.parametrize("writer_lives", [True, False])
def test_what_is_in_the_pipe_is_taken_however_late_we_come(
    writer_lives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a host so busy that a second passes between any two looks at the clock."""
    clock = itertools.count()
    monkeypatch.setattr(company.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(company, "watch_children", lambda loop, reap: None)
    out, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    sent = os.write(into, b"x" * 65_000)
    if not writer_lives:
        os.close(into)
    taken: list[bytes] = []
    one = company.Company()
    one.relay.log = lambda stream, data: taken.append(data)
    one.relay.add_output(STDOUT, out)
    one.status = 0
    one.until_ended()
    assert sum(map(len, taken)) == sent
    assert not one.relay.open_outputs
    if writer_lives:
        os.close(into)
