"""One version of Atoll after another, under running containers: N+1 takes over what N keeps, N refuses what N+1 has.

The next version is a copy of the package with its numbers raised: version, protocol, a further step of the store.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.monitor import protocol
from kit import processes
from kit.command import Atoll
from kit.waiting import until

ROOT = Path(__file__).resolve().parents[2]
TALKS = "trap 'exit 7' TERM; i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05; done"
ANSWERS = "while read x; do echo got $x; done; exit 3"

pytestmark = pytest.mark.timeout(120)


def package(tree: Path) -> Path:
    """A source tree with this package."""
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "bin", tree / "bin")
    (tree / ".venv").symlink_to(Path(sys.executable).absolute().parents[1])
    return tree


def raise_numbers(tree: Path, *, store: bool = True) -> None:
    """Make it the next version. Files are replaced, as installers do, not written over."""

    def change(name: str, old: str, new: str) -> None:
        path = tree / "src/atoll" / name
        text = path.read_text()
        assert text.count(old) == 1, (name, old)
        path.with_suffix(".new").write_text(text.replace(old, new))
        path.with_suffix(".new").rename(path)

    change("monitor/protocol.py", f"\nVERSION = {protocol.VERSION}\n", f"\nVERSION = {protocol.VERSION + 1}\n")
    import atoll

    change("__init__.py", f'__version__ = "{atoll.__version__}"', '__version__ = "999.0"')
    if store:
        change(
            "engine/schema.py",
            "\nSCHEMA = len(STEPS)",
            '\nSTEPS += (("CREATE TABLE later (a)",),)\nSCHEMA = len(STEPS)',
        )


@pytest.fixture
def using(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Commands are those of a tree from now on."""
    return lambda tree: monkeypatch.setenv("ATOLL_BIN", str(tree / "bin"))


def daily_work(atoll: Atoll) -> None:
    """What one does with the containers of `begun`, all of which another version's monitors keep."""
    assert set(atoll.good("ps", "--format", "{{.Names}}").split()) == {"talks", "answers", "again"}
    assert atoll.good("exec", "talks", "echo", "inside") == "inside"
    assert atoll.good("logs", "--tail", "1", "talks").startswith("line ")
    child = atoll.popen("attach", "answers", stdin=-1)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("word\n")
    child.stdin.flush()
    assert child.stdout.readline() == "got word\n"
    child.kill()
    child.communicate()
    processes.KEEP.discard(child.pid)
    assert "talks" in atoll.good("stats", "--no-stream", "talks")
    atoll.good("pause", "talks")
    atoll.good("unpause", "talks")
    os.kill(int(str(atoll.state("again")["Pid"])), signal.SIGKILL)
    atoll.good("stop", "talks")
    assert atoll.state("talks")["ExitCode"] == 7
    atoll.good("start", "talks")
    assert atoll.good("exec", "talks", "echo", "again") == "again"


def begun(atoll: Atoll, busybox: str) -> None:
    atoll.good("run", "-d", "--name", "talks", busybox, "sh", "-c", TALKS)
    atoll.good("run", "-di", "--name", "answers", busybox, "sh", "-c", ANSWERS)
    atoll.good("run", "-d", "--name", "again", "--restart", "always", busybox, "sleep", "600")


def test_a_new_version_replaces_the_package_under_running_containers(
    atoll: Atoll, busybox: str, using: Callable[[Path], None], tmp_path: Path
):
    here = package(tmp_path / "here")
    using(here)
    begun(atoll, busybox)
    raise_numbers(here)
    assert "999.0" in atoll.good("--version")
    daily_work(atoll)
    # The old monitor has had it started again, by a command of the new version.
    until(lambda: atoll.good("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "again") == "1 running")
    assert len(processes.spawners(atoll.run_root)) == 2
    # Its monitor and that one's spawner killed, the new version takes over a container that the old one began.
    for process in [*processes.spawners(atoll.run_root), *processes.monitors(atoll.run_root)]:
        processes.end(process.pid, signal.SIGKILL)
    assert atoll.good("exec", "talks", "echo", "alive") == "alive"
    atoll.good("stop", "talks")
    assert atoll.state("talks")["ExitCode"] in (7, 255)
    atoll.good("rm", "-f", "talks", "answers", "again")
    atoll.good("system", "check")


def test_an_old_version_refuses_what_a_newer_has(
    atoll: Atoll, busybox: str, using: Callable[[Path], None], tmp_path: Path
):
    old, new, newest = (package(tmp_path / name) for name in ("old", "new", "newest"))
    raise_numbers(new, store=False)
    raise_numbers(newest)
    using(old)
    atoll.good("run", "-d", "--name", "first", busybox, "sh", "-c", TALKS)
    using(new)
    assert atoll.good("exec", "first", "echo", "inside") == "inside"
    atoll.good("run", "-d", "--name", "second", busybox, "sh", "-c", TALKS)
    using(old)
    for words in (("exec", "second", "true"), ("attach", "--no-stdin", "second")):
        atoll(*words).failed(
            1, f"speaks version {protocol.VERSION + 1}, we {protocol.VERSION} at most", "newest installed"
        )
    assert atoll.good("exec", "first", "echo", "inside") == "inside"
    atoll.good("stop", "second")  # a signal needs no monitor
    using(newest)
    assert atoll.good("exec", "first", "echo", "inside") == "inside"
    using(old)
    atoll("ps").failed(1, "newer")
    using(newest)
    atoll.good("rm", "-f", "first", "second")
