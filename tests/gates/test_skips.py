"""The rule on skips, tried on itself: what the list does not name fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gates.tree import ROOT

CASES = """\
import pytest
def test_runs(): pass
def test_allowed(): pytest.skip("no such kernel")
def test_not_allowed(): pytest.skip("felt like it")
@pytest.mark.xfail(reason="known")
def test_expected(): assert False
@pytest.mark.parametrize("x", [1])
@pytest.mark.skip(reason="felt like it")
def test_marked(x): pass
"""


def _outcome(directory: Path, *options: str) -> str:
    (directory / "tests").mkdir(exist_ok=True)
    (directory / "tests/conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (directory / "tests/allowed-skips.txt").write_text("tests/test_cases.py::test_allowed | no such*  # why\n")
    (directory / "tests/test_cases.py").write_text(CASES)
    (directory / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    return result.stdout.splitlines()[-1].partition(" in ")[0]


def test_a_skip_off_the_list_fails(tmp_path: Path) -> None:
    assert _outcome(tmp_path, "--strict-skips") == "2 failed, 1 passed, 1 skipped, 1 error"
    assert _outcome(tmp_path) == "1 passed, 3 skipped, 1 xfailed"


def test_the_list_says_why() -> None:
    for line in (ROOT / "tests/allowed-skips.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            assert " | " in line, line
            assert line.partition("# ")[2].strip(), f"say why: {line}"
