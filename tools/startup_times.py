"""Measures the ways of starting a Python command (docs/startup.md): medians of interleaved rounds, one per way.

Usage: python3 tools/startup_times.py [ROUNDS]     (from the development environment; needs `hatchling`)
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from kit import installed  # noqa: E402 - found only after the line above

MAIN = "def main(argv):\n    return 0\n"
CONSOLE_SCRIPT = """\
#!{python}
# -*- coding: utf-8 -*-
import re
import sys
from atoll.cli.main import main
if __name__ == "__main__":
    sys.argv[0] = re.sub(r"(-script\\.pyw|\\.exe)?$", "", sys.argv[0])
    sys.exit(main(sys.argv[1:]))
"""


def once(command: list[str]) -> tuple[float, float]:
    """Wall and CPU milliseconds of one run."""
    begun = time.perf_counter()
    pid = os.posix_spawn(command[0], command, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{command} ended with status {status}")
    return wall * 1000, (usage.ru_utime + usage.ru_stime) * 1000


def ways(directory: Path) -> dict[str, list[str]]:
    """The commands to compare, each in a virtual environment with an Atoll whose `main` does nothing."""
    tree = installed.stub_tree(directory / "tree")
    (tree / "src/atoll/cli/main.py").write_text(MAIN)
    base = os.path.realpath(sys.executable)
    bin_ = installed.virtual_environment(directory / "venv", installed.build(tree, directory / "wheel"), python=base)
    editable = installed.build(tree, directory / "editable", "editable")
    editable_bin = installed.virtual_environment(directory / "editable-venv", editable, python=base)
    console = bin_ / "console"
    console.write_text(CONSOLE_SCRIPT.format(python=bin_ / "python3"))
    console.chmod(0o755)
    link = directory / "atoll-link"
    link.symlink_to(bin_ / "atoll")
    python = str(bin_ / "python3")
    package = next((directory / "venv/lib").glob("python3*/site-packages"))
    boot = (ROOT / "bin/atoll").read_text().split("boot='")[1].split("'")[0]
    return {
        "`bin/atoll`": [str(bin_ / "atoll")],
        "`bin/atoll` of `pip install -e`": [str(editable_bin / "atoll")],
        "`bin/atoll` through a link": [str(link)],
        "console script as pip writes it": [str(console)],
        "`python3 -m atoll`": [python, "-m", "atoll"],
        "`python3 -SI -c BOOT` (what Atoll calls itself by)": [
            python,
            "-SI",
            "-c",
            boot,
            str(package),
            "atoll.cli.main",
        ],
        "`python3 -SI -c pass`": [python, "-SI", "-c", "pass"],
        "`python3 -c pass`": [python, "-c", "pass"],
        "`sh -c :`": ["/bin/sh", "-c", ":"],
    }


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as directory:
        commands = ways(Path(directory))
        for command in commands.values():
            once(command)  # once to write the caches
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                taken[name].append(once(command))
    print(f"{sys.version.split()[0]}, {rounds} interleaved rounds\n")
    print("| way | wall, median | wall, fastest | CPU, median |\n| --- | ---: | ---: | ---: |")
    for name, times in taken.items():
        wall, cpu = zip(*times, strict=True)
        print(f"| {name} | {statistics.median(wall):.1f} | {min(wall):.1f} | {statistics.median(cpu):.1f} |")


if __name__ == "__main__":
    main()
