"""`tests/host/run`: the command. Holds: its arguments, the suites, the file of results. Not the machine itself."""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.host import uml
from tests.host.image import HERE, TREE, ensure
from tests.host.machine import Host

PYTEST = (f"{TREE}/.venv/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=900")
INSIDE = {"ATOLL_TEST_HOST": "qemu", "ATOLL_TEST_CACHE": "/var/cache/atoll-tests", "ATOLL_TEST_PATIENCE": "10"}
"""Tells tests/conftest.py that tests/host/inside is to run, and the kit that all takes ten times as long."""
SUITE_SECONDS = 3000
RESULT = HERE / "result.txt"


def suites() -> list[list[str]]:
    """Arguments of pytest, a suite each."""
    lines = [line.partition("|")[0].partition("#")[0].split() for line in (HERE / "suites.txt").open()]
    return [words for words in lines if words]


def run_suite(host: Host, words: Sequence[str]) -> tuple[int | None, str, str]:
    """One of them: exit code, pytest's last line, everything."""
    said = host.run(*PYTEST, *words, seconds=SUITE_SECONDS, env=INSIDE, cwd=str(TREE))
    lines = [line for line in said.output.splitlines() if re.search(r"\d+ (passed|failed|error|skipped)", line)]
    return said.status, lines[-1].strip("= ") if lines else "no result", said.output


def report(kernel: str, results: Sequence[tuple[str, str]]) -> str:
    """What is committed, as .ci/full-result.txt is: when, what, on which kernel, and how each suite ended."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    commit = subprocess.run(words, cwd=TREE, capture_output=True, text=True).stdout.strip()
    head = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit, "kernel": kernel}
    lines = [f"{name + ':':8}{value}" for name, value in head.items()]
    return "\n".join([*lines, *(f"{suite}: {end}" for suite, end in results), ""])


def in_qemu(words: Sequence[str]) -> int:
    """Everything, or one call of pytest, in a fresh host."""
    with tempfile.TemporaryDirectory(prefix="atoll-host-", dir=_place()) as folder, _booted(folder) as host:
        if words:
            status = host.run(*PYTEST, *words, seconds=SUITE_SECONDS, env=INSIDE, cwd=str(TREE)).status
            return 124 if status is None else status
        results, worst = [], 0
        for suite in suites():
            print(f"--- {' '.join(suite)}", flush=True)
            status, end, _ = run_suite(host, suite)
            results.append((" ".join(suite), end))
            worst = worst or (124 if status is None else status)
        RESULT.write_text(report(host.run("uname", "-rv").good(), results))
        return worst


def in_uml(words: Sequence[str], *, timeout: float = 600) -> int:
    """One call of pytest in user-mode Linux with AppArmor."""
    result = uml.pytest(words, timeout=timeout)
    sys.stdout.write(result.output)
    if result.status is None:
        sys.stderr.write(result.console)
    return 125 if result.status is None else result.status


def shell(words: Sequence[str]) -> int:
    """One command in a fresh host."""
    with tempfile.TemporaryDirectory(prefix="atoll-host-", dir=_place()) as folder, _booted(folder) as host:
        status = host.run("sh", "-c", " ".join(words), seconds=SUITE_SECONDS).status
        return 124 if status is None else status


def _booted(folder: str) -> Host:
    return Host(ensure(), folder, hear=_show)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _place() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_mount() else None


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests/host/run", description="Run tests in a whole Debian host.")
    kind = parser.add_mutually_exclusive_group()
    ways: dict[str, Callable[[Sequence[str]], int]] = {"qemu": in_qemu, "uml": in_uml, "shell": shell}
    for name, about in (
        ("qemu", "under QEMU (as without any of these)"),
        ("uml", "in user-mode Linux: AppArmor and cgroup v2, but neither systemd nor nftables"),
        ("shell", "one command instead of tests, under QEMU"),
    ):
        kind.add_argument(f"--{name}", dest="way", action="store_const", const=name, help=about)
    parser.add_argument("words", nargs="*", help="arguments of pytest; none: what suites.txt says")
    given, more = parser.parse_known_args()
    words = [*given.words, *more]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the machine's folder goes
    if given.way in ("uml", "shell") and not words:
        parser.error(f"--{given.way} wants to know what to run")
    return ways[given.way or "qemu"](words)


if __name__ == "__main__":
    sys.exit(main())
