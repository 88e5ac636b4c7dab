"""Every MUST and SHOULD of the runtime-spec has its test or a reason, and the tables in the docs are those of now."""

from __future__ import annotations

import subprocess
import sys

from gates.tree import ROOT


def test_the_requirements_table() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools/spec_table.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_validation_table() -> None:
    """Of the record: `tools/validation_table.py` runs the programs and writes both."""
    from validation.outcomes import PROGRAMS, recorded, table

    results = recorded()
    assert set(results) == set(PROGRAMS), "run tools/validation_table.py"
    text = (ROOT / "docs/runtime-validation.md").read_text()
    versions = text.split("tried on ", 1)[1].split(" on the same", 1)[0]
    assert text == table(results, versions), "run tools/validation_table.py --table"
