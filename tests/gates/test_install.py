"""The README's first command, in a copy of the tree and a prefix of its own: installs, runs a container, goes again.

Needs PyPI, as the command does. Both kinds of user run it where the tests run as root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gates.tree import ROOT
from kit import processes

NOBODY = 65534


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy of what git has, without `.git`, readable by everyone."""
    copy = tmp_path / "clone"
    copy.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


def _owned_by(user: int | None, *places: Path) -> None:
    if user is None:
        return
    for place in places:
        for folder, _, files in os.walk(place):
            for name in [folder, *(os.path.join(folder, file) for file in files)]:
                os.chown(name, user, user, follow_symlinks=False)
    for parent in places[0].parents:  # pytest's own directories are 0700
        if parent.name.startswith(("pytest-", "popen-", "test_")):
            parent.chmod(0o755)


USERS = [
    None,
    pytest.param(NOBODY, marks=pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: run as root")),
]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("user", USERS, ids=["me", "nobody"])
def test_install_run_remove(place: Path, tmp_path: Path, user: int | None) -> None:
    home = tmp_path / "home"
    home.mkdir()
    _owned_by(user, place, home)
    roots = {"ATOLL_DATA_ROOT": f"{home}/data", "ATOLL_RUN_ROOT": f"{home}/run"}
    carried = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    environment = {"HOME": str(home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **roots, **carried}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=place,
            env=environment,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    prefix = f"{home}/prefix"
    try:
        _installs_and_runs(run, prefix)
        assert run(f"{prefix}/bin/atoll", "ps", "-aq").stdout == ""
    finally:
        for spawner in processes.spawners(roots["ATOLL_RUN_ROOT"]):
            processes.end(spawner.pid, signal.SIGTERM)
    removed = run("./install.sh", "--remove", "--prefix", prefix)
    assert removed.returncode == 0, removed.stderr
    assert [path.name for path in Path(prefix).rglob("*") if not path.is_dir()] == []


def _installs_and_runs(run: Callable[..., subprocess.CompletedProcess[str]], prefix: str) -> None:
    first = run("./install.sh", "--prefix", prefix)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("Linux ")
    assert f"installed: {prefix}/bin/atoll" in first.stderr
    again = run("./install.sh", "--prefix", prefix, "--no-run")
    assert again.returncode == 0, again.stderr
    version = run(f"{prefix}/bin/atoll", "--version")
    assert version.stdout.startswith("Atoll version ")
    assert os.readlink(f"{prefix}/bin/atoll-runtime") == f"{prefix}/lib/atoll/bin/atoll-runtime"


def test_unknown_argument_is_refused() -> None:
    result = subprocess.run([ROOT / "install.sh", "--frob"], capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == 1
    assert "unknown argument --frob" in result.stderr
