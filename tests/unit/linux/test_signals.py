"""Signals without the `signal` module."""

from __future__ import annotations

import os
import signal
import sys
import time

from atoll.linux import signals


def test_let_go_leaves_the_default_and_no_word(monkeypatch):
    """A handler taken away under a rain of its signal: never CPython's word of a race."""
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    before = signal.getsignal(signal.SIGCHLD)
    child = os.fork()
    if child == 0:
        parent, end = os.getppid(), time.monotonic() + 0.3
        while time.monotonic() < end:
            os.kill(parent, signals.SIGCHLD)
        os._exit(0)
    try:
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            signals.handle(signals.SIGCHLD, lambda number, frame: None)
            signals.let_go(signals.SIGCHLD)
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
        assert said == []
    finally:
        signal.signal(signal.SIGCHLD, before)
