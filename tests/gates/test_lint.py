"""Formatting, lint, types and layers: the tools run as tests, so that there is one command to pass."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gates.tree import ROOT, name

BIN = Path(sys.executable).parent
NOQA = re.compile(r"#\s*no" "qa")
REASONED = re.compile(r"# no" r"qa: [A-Z]+\d+(, ?[A-Z]+\d+)* - \S")
BLANKET = re.compile(r"#\s*type:\s*ig" r"nore(?!\[)")
CODE = [ROOT / part for part in ("src", "tests", "bench", "examples", "tools")]


def _passes(*command: str) -> None:
    result = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=400, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"


def test_ruff_lint() -> None:
    _passes("ruff", "check", "--quiet", ".")


def test_ruff_format() -> None:
    _passes("ruff", "format", "--check", "--quiet", ".")


@pytest.mark.timeout(420)
def test_mypy_strict() -> None:
    _passes("mypy", "--strict")


def test_layers() -> None:
    _passes("lint-imports", "--no-cache")


def test_every_suppression_has_its_reason() -> None:
    """A switched-off rule is named, with the reason; a blanket one of mypy's is never right."""
    wrong = []
    for path in sorted(file for part in CODE for file in part.rglob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if NOQA.search(line) and not REASONED.search(line):
                wrong.append(f"{name(path)}:{number}: {line.strip()}")
            if BLANKET.search(line):
                wrong.append(f"{name(path)}:{number}: {line.strip()}")
    assert not wrong, "each says which rule and why (`RULE - why`), or which code:\n" + "\n".join(wrong)


def test_ruff_ignores_carry_their_reason() -> None:
    """Each rule that pyproject.toml switches off is named in the comment above it."""
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.per-file-ignores]")]
    comments = " ".join(line for line in block.splitlines() if line.startswith("#"))
    ignored = re.findall(r'"([A-Z]+\d+)"', block[block.index("ignore = ") :])
    unexplained = [rule for rule in ignored if rule not in comments]
    assert not unexplained, f"say in the comment above `ignore` why these are off: {unexplained}"
