"""What a warm `atoll run` imports, pinned module by module in `tests/gates/run-imports.txt`: never a time.

A new line there is a decision, taken where it can be seen. `ATOLL_WRITE_GOLDEN=1` writes the file anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.base import launch
from kit.command import Atoll

PINNED = Path(__file__).resolve().parents[1] / "gates/run-imports.txt"
PYTHON = ".".join(str(part) for part in sys.version_info[:2])
HEADER = """\
# What a warm `atoll run --rm host true` imports in the command's own process, interpreter's start included, on
# Python {python}. tests/integration/test_import_budget.py compares it; ATOLL_WRITE_GOLDEN=1 writes it anew.
"""
LATER = {"atoll.engine.containers.bundle"}
"""What a run loads that has lasted for a while (`launch.py:note_plan`): on a busy machine even `true` may."""


def imported(atoll: Atoll, *words: str) -> list[str]:
    """The modules that one command loads, in the order of their names."""
    command = launch.argv(*words)
    command[1:2] = ["-SI", "-X", "importtime"]
    result = subprocess.run(
        command,
        env=atoll.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: os.nice(1),  # by which the spawner's door declines it: it is to run in its own process
    )
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    return sorted({line.rpartition("|")[2].strip() for line in lines} - {"imported package"} - LATER)


def pinned() -> tuple[str, list[str]]:
    """The Python version that the list was written with, and the list."""
    lines = PINNED.read_text().splitlines()
    version = next(line for line in lines if "Python " in line).rpartition("Python ")[2].split(". ")[0]
    return version, [line for line in lines if line and not line.startswith("#")]


@pytest.mark.timeout(120)
def test_warm_run_imports_what_is_pinned(atoll: Atoll) -> None:
    atoll.good("run", "--rm", "host", "true")  # starts the spawner, compiles what is to be compiled
    now = imported(atoll, "run", "--rm", "host", "true")
    if os.environ.get("ATOLL_WRITE_GOLDEN") == "1":
        PINNED.write_text(HEADER.format(python=PYTHON) + "".join(f"{name}\n" for name in now))
    version, expected = pinned()
    if version != PYTHON:  # another Python's own start differs; Atoll's part does not
        now, expected = ([name for name in names if name.startswith("atoll")] for names in (now, expected))
    assert now == expected, f"new: {set(now) - set(expected)}, gone: {set(expected) - set(now)}"
