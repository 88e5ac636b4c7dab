#!/usr/bin/python3
"""Runs the validation programs on runc, crun and atoll-runtime and writes `docs/runtime-validation.md`.

    .venv/bin/python tools/validation_table.py            as root, with Debian's runc and crun; a minute
    .venv/bin/python tools/validation_table.py --table    only the table, of the record

The record is `tests/validation/outcomes.json`; the programs are in `tests/validation/programs.py` and
`tests/validation/linux.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/runtime-validation.md"
TEST = "tests/integration/test_runtime_validation.py::test_every_runtime_on_every_program"


def versions() -> str:
    """What is compared, as Debian names it."""
    found = []
    for name in ("runc", "crun"):
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True, check=True
        )
        found.append(f"{name} {done.stdout.split('+')[0].split('-')[0]}")
    return f"{found[0]}, {found[1]} and atoll-runtime"


def main(argv: list[str]) -> int:
    """Exit code 1 if the programs could not be run."""
    if "--table" not in argv:
        command = [sys.executable, "-m", "pytest", "-q", "--full", "-o", "timeout=0", TEST]
        if subprocess.run(command, cwd=ROOT, env=os.environ | {"ATOLL_VALIDATION_RECORD": "1"}).returncode:
            return 1
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]
    from validation.outcomes import recorded, table

    DOCUMENT.write_text(table(recorded(), versions()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
