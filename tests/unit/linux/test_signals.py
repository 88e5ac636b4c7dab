"""Signals without the `signal` module."""

from __future__ import annotations

import subprocess
import sys

import atoll.linux

RAIN = """
import os, signal, sys, time
sys.path.append(sys.argv[1])
from atoll.linux import signals
take_off = getattr(signals, sys.argv[2])
child = os.fork()
if child == 0:
    parent = os.getppid()
    while os.getppid() == parent:
        os.kill(parent, signals.SIGURG)
end = time.monotonic() + 0.5
while time.monotonic() < end:
    signals.handle(signals.SIGURG, lambda number, frame: None)
    take_off(signals.SIGURG)
assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
"""


def rain(take_off: str) -> str:
    """What a process of one thread says whose handler comes and goes while the signal rains."""
    package = atoll.linux.__path__[0].removesuffix("/atoll/linux")
    words = [sys.executable, "-c", RAIN, package, take_off]
    run = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return run.stderr


def test_let_go_leaves_the_default_and_no_word():
    """Never CPython's word of a race, as the plain default has it."""
    assert rain("let_go") == ""
