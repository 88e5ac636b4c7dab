"""Signals without the `signal` module."""

from __future__ import annotations

import subprocess
import sys

import atoll.linux

RAIN = """
import os, signal, sys, time
sys.path.append(sys.argv[1])
from atoll.linux import signals
child = os.fork()
if child == 0:
    parent, end = os.getppid(), time.monotonic() + 0.3
    while time.monotonic() < end:
        os.kill(parent, signals.SIGCHLD)
    os._exit(0)
while os.waitpid(child, os.WNOHANG)[0] == 0:
    signals.handle(signals.SIGCHLD, lambda number, frame: None)
    signals.let_go(signals.SIGCHLD)
assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
"""


def test_let_go_leaves_the_default_and_no_word():
    """A handler taken away under a rain of its signal, in a process of one thread: never CPython's word of a race."""
    package = atoll.linux.__path__[0].removesuffix("/atoll/linux")
    run = subprocess.run(
        [sys.executable, "-c", RAIN, package], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
