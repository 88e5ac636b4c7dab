"""`examples/tiny.py`: a container on `atoll.linux` alone, as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "examples/tiny.py"
NOBODY = 65534


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A root file system of nothing but busybox, readable by everyone."""
    directory = tmp_path / "image"
    (directory / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", directory / "bin/busybox")
    (directory / "bin/sh").symlink_to("busybox")
    for parent in (directory, *directory.parents):
        if parent == directory or parent.name.startswith(("pytest-", "popen-", "test_")):
            parent.chmod(0o755)
    return directory


def tiny(image: Path, *command: str, user: int | None) -> subprocess.CompletedProcess[str]:
    """Run the example, by the system's own Python for a user who cannot reach the environment."""
    python = os.path.realpath(sys.executable)
    return subprocess.run(
        [python, str(TINY), str(image), *command],
        env={"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        user=user,
        group=user,
        extra_groups=[] if user else None,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd="/",
    )


@pytest.mark.parametrize("user", [None, NOBODY], ids=["root", "nobody"])
def test_runs_a_command_and_leaves_nothing(image: Path, user: int | None) -> None:
    script = "busybox id -u; busybox hostname; echo $$; busybox touch /new && busybox ls /; exit 7"
    result = tiny(image, "sh", "-c", script, user=user)
    assert result.stderr == ""
    assert result.stdout.split() == ["0", "tiny", "1", "bin", "dev", "new", "proc"]
    assert result.returncode == 7
    assert sorted(path.name for path in image.iterdir()) == ["bin"]


def test_its_isolation(image: Path) -> None:
    result = tiny(
        image, "busybox", "grep", "-E", "^(CapEff|CapInh|CapBnd|NoNewPrivs)", "/proc/self/status", user=None
    )
    assert result.stdout.split()[1::2] == ["0" * 16, "00000000000000eb", "00000000000000eb", "1"]
    assert tiny(image, "busybox", "ls", "/proc/self/root/../..", user=None).stdout.split() == ["bin", "dev", "proc"]
    interfaces = tiny(image, "busybox", "cat", "/proc/net/dev", user=None).stdout.splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    descriptors = tiny(image, "busybox", "ls", "/proc/self/fd", user=None).stdout.split()
    assert descriptors == ["0", "1", "2", "3"]  # the last is the directory that `ls` reads


def test_a_program_that_is_not_there(image: Path) -> None:
    result = tiny(image, "nothing", user=None)
    assert result.returncode == 127
    assert "no program nothing" in result.stderr


def test_a_killed_command_counts_as_shells_do(image: Path) -> None:
    assert tiny(image, "sh", "-c", "busybox kill -9 -1; exit 3", user=None).returncode in (3, 137)
    assert tiny(image, "/bin/sh", "-c", "exit 0", user=None).returncode == 0


def test_it_stays_short_and_stands_on_linux_alone() -> None:
    text = TINY.read_text()
    assert len(text.splitlines()) <= 130
    imported = [line for line in text.splitlines() if line.startswith(("from atoll", "import atoll"))]
    assert imported
    assert all(line.startswith("from atoll.linux") for line in imported)
