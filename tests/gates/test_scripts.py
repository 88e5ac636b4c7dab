"""The shell scripts of the tree: they parse, are executable, and .ci/run is the README's second command."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gates.tree import ROOT

POSIX = [
    "install.sh",
    "test.sh",
    "tests/host/run",
    "bin/atoll",
    "bin/atoll-runtime",
    "tools/common.sh",
    "tools/lock.sh",
]
BASH = [".ci/run", ".ci/full"]


@pytest.mark.parametrize("name", [*POSIX, *BASH])
def test_script_parses(name: str) -> None:
    shell = "bash" if name in BASH else "sh"
    subprocess.run([shell, "-n", ROOT / name], check=True, timeout=30)
    if name != "tools/common.sh":
        assert (ROOT / name).stat().st_mode & 0o111 == 0o111
        assert (ROOT / name).read_text().startswith("#!/bin/bash\n" if name in BASH else "#!/bin/sh\n")


def test_ci_runs_the_second_command_and_nothing_else() -> None:
    commands = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert commands == ['cd "$(dirname "$0")/.." && exec ./test.sh']


def test_locks_have_hashes_and_name_no_host() -> None:
    for lock in sorted(ROOT.glob("requirements*.lock")):
        text = lock.read_text()
        assert "://" not in text, f"{lock.name} names a host"
        for block in re.split(r"\n(?=[a-z])", text)[1:]:
            assert "--hash=sha256:" in block, f"{lock.name}: no hash for {block.splitlines()[0]}"


def test_locks_cover_what_pyproject_asks_for() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = {
        "requirements.lock": settings["project"]["dependencies"],
        "requirements-dev.lock": [*settings["project"]["dependencies"], *settings["dependency-groups"]["dev"]],
        "requirements-build.lock": settings["build-system"]["requires"],
    }
    for lock, requirements in asked.items():
        pinned = set(re.findall(r"^([\w-]+)==", (ROOT / lock).read_text(), flags=re.MULTILINE))
        names = {re.split(r"[<>=!; ]", requirement)[0] for requirement in requirements}
        assert names <= pinned, f"{lock} is old: run tools/lock.sh"


def test_no_credential_or_machine_path_is_committed() -> None:
    """Nothing of the machine that Atoll is made on is in the tree."""
    if not (git := shutil.which("git")) or not (ROOT / ".git").exists():
        return
    files = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for file in files:
        path: Path = ROOT / file
        if path.is_file() and path.suffix not in (".gz", ".bin"):
            text = path.read_text(errors="replace")
            assert "/work/" + "main" not in text, file
