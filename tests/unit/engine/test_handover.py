"""An ordinary user's container hands its network namespace over: who waits, and who sends."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from atoll.base import errors
from atoll.engine.networks.handover import Waiting
from atoll.monitor import creator


def test_the_namespace_arrives(tmp_path):
    run = tmp_path / ("r" * 90)  # longer than a socket's name may be
    run.mkdir(mode=0o700)
    assert creator._hand_over_of(str(run)) is None
    waiting = Waiting(SimpleNamespace(run=str(run), runtime=()))
    send = creator._hand_over_of(str(run))
    assert send is not None
    send(os.getpid())
    fd = waiting.take()
    assert os.fstat(fd).st_ino == os.stat("/proc/self/ns/net").st_ino
    os.close(fd)
    assert list(run.iterdir()) == []


def test_another_runtime_hands_nothing_over(tmp_path):
    with pytest.raises(errors.Unsupported, match="runsc"):
        Waiting(SimpleNamespace(run=str(tmp_path), runtime=("runsc",)))


def test_nobody_sends(tmp_path):
    waiting = Waiting(SimpleNamespace(run=str(tmp_path), runtime=()))
    waiting._listener.settimeout(0)
    waiting.close()
    assert list(tmp_path.iterdir()) == []
