"""Atoll built and installed with a stub for a command line, to test how it is packed and started.

Holds: a copy of the tree, its wheel, virtual environments, a stub `main` that prints how it was started.
Does not hold: the tests (`tests/unit/test_launcher.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

STUB = """\
import sys
def main(argv):
    import json
    print(json.dumps({
        "argv": argv, "argv0": sys.argv[0], "name": __name__, "executable": sys.executable,
        "path": sys.path, "file": __file__, "site": "site" in sys.modules,
        "no_site": sys.flags.no_site, "isolated": sys.flags.isolated,
    }))
    if argv[:1] == ["import"]:
        module = __import__(argv[1])
        print(module.__file__)
    if argv[:1] == ["launch"]:
        from atoll.base import launch
        print(json.dumps(launch.argv("again", module=__name__)))
    return int(argv[1]) if argv[:1] == ["exit"] else 0
"""


def run(*command: str | Path, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command with its output captured; on failure raise with that output in sight."""
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=100, check=False, **options
    )
    if check and result.returncode:
        raise AssertionError(f"{command} ended with {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def stub_tree(target: Path) -> Path:
    """A copy of what a build needs, with the stub as both command lines."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        target.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    for name in ("bin", "src"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for room in ("cli", "runtime"):
        (target / "src/atoll" / room / "main.py").write_text(STUB)
    return target


def build(tree: Path, target: Path, kind: str = "wheel") -> Path:
    """Build `wheel`, `sdist` or `editable` (a wheel) from a tree with the locked build backend. Returns the file."""
    target.mkdir(exist_ok=True)
    script = f"import sys; from hatchling import build; print(build.build_{kind}(sys.argv[1]))"
    name = run(sys.executable, "-c", script, target, cwd=tree).stdout.split()[-1]
    return target / name


def virtual_environment(target: Path, *wheels: Path, python: str | None = None) -> Path:
    """A virtual environment without pip, with these wheels installed by our own pip, offline. Returns its bin."""
    run(python or os.path.realpath(sys.executable), "-m", "venv", "--without-pip", target)
    for wheel in wheels:
        pip_install(wheel, "--python", str(target / "bin/python3"))
    return target / "bin"


def pip_install(wheel: Path, *before: str, after: tuple[str, ...] = ()) -> None:
    """`pip BEFORE install AFTER WHEEL`, offline and without dependencies."""
    options = ("--no-index", "--no-deps", "--quiet", "--disable-pip-version-check", "--no-warn-script-location")
    run(sys.executable, "-m", "pip", *before, "install", *options, *after, wheel)


def started(*command: str | Path, **options: object) -> dict[str, object]:
    """Run a stubbed Atoll and return the first line it printed, parsed."""
    result: dict[str, object] = json.loads(run(*command, **options).stdout.splitlines()[0])
    return result
