"""Reaching a helper, and beginning one where there is none."""

import os
import socket

from atoll.network.helper import start


def test_one_is_begun_once(tmp_path):
    path, lock = str(tmp_path / "sock"), str(tmp_path / "lock")
    assert start.connect(path) is None
    kept = []

    def execute(listener):
        kept.append(socket.socket(fileno=os.dup(listener)))

    first = start.begin(path, lock, execute)
    second = start.begin(path, lock, execute, 5.0)
    assert first is not None
    assert second is not None
    assert len(kept) == 1
    end, _ = kept[0].accept()
    first.send(b"word")
    assert end.recv(10) == b"word"
    assert second.gettimeout() == 5.0
    for one in (first, second, end, *kept):
        one.close()
    # Whoever listened has gone without a word, and what it listened at lies there yet.
    assert os.path.exists(path)
    assert start.connect(path) is None
    third = start.begin(path, lock, execute)
    assert third is not None
    assert len(kept) == 2
    third.close()
    kept[1].close()


def test_one_that_ends_at_once_is_none(tmp_path):
    assert start.begin(str(tmp_path / "sock"), str(tmp_path / "lock"), lambda listener: None) is None
