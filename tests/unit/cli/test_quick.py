"""What goes to a warm process and what does not, and who is believed to be one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.cli import quick
from atoll.cli.commands import COMMANDS
from atoll.engine import paths
from gates.tree import SOURCE, imports


@pytest.mark.parametrize(
    ("line", "suits"),
    [
        ("ps -a", True),
        ("run --rm host true", True),
        ("container ls", True),
        ("container attach web", False),
        ("container", False),
        ("image ls", True),
        ("image sign x", False),
        ("image load", False),
        ("volume ls", True),
        ("login", False),
        ("-D ps", False),
        ("pull x", True),
        ("", False),
    ],
)
def test_words_that_suit(line: str, suits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick.posix, "isatty", lambda fd: True)
    assert quick._suits(line.split()) is suits


@pytest.mark.parametrize("option", ["-it", "-i", "-ti", "--interactive", "--tty", "-ai", "--attach"])
@pytest.mark.parametrize("terminal", [True, False])
def test_whoever_types_keeps_his_terminal(option: str, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick.posix, "isatty", lambda fd: terminal)
    assert quick._suits(["run", option, "host", "sh"]) is not terminal


def test_every_word_is_a_command() -> None:
    known = {name.split()[0] for name in COMMANDS}
    assert known | {"container", "image"} >= quick.WARM


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"ATOLL_RUN_ROOT": "/x/run"},
        {"XDG_RUNTIME_DIR": "/run/user/7"},
        {"XDG_RUNTIME_DIR": "relative"},
        {"ATOLL_RUN_ROOT": "", "XDG_RUNTIME_DIR": "/run/user/7"},
    ],
)
@pytest.mark.parametrize("uid", [0, 1000])
def test_the_run_root_is_the_engines(environ: dict[str, str], uid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick.posix, "geteuid", lambda: uid)
    raw = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
    expected = paths.locate({"HOME": "/home/x", **environ}, uid).run
    assert quick._run_root(raw).decode() == expected


def listening(folder: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "door.sock"))
    server.listen()
    return server


def test_a_root_of_ones_own_is_believed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with listening(tmp_path):
        quick._connect(os.fsencode(tmp_path)).close()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777])
def test_a_root_open_to_others_is_not_believed(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with listening(tmp_path), pytest.raises(PermissionError):
        quick._connect(os.fsencode(tmp_path))


def test_a_root_through_a_link_is_not_believed(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    with listening(real), pytest.raises(PermissionError):
        quick._connect(os.fsencode(tmp_path / "link"))


def test_a_root_of_somebody_else_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(quick.posix, "geteuid", lambda: os.getuid() + 1)
    with listening(tmp_path), pytest.raises(PermissionError):
        quick._connect(os.fsencode(tmp_path))


def test_what_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """And after that it cannot begin any more."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, (0).to_bytes(8, "little") + (20_000).to_bytes(8, "little"))
    assert quick._answer(ours)[0] == b""
    with pytest.raises(BrokenPipeError):
        theirs.send(b"w")


def test_the_exit_code_is_not_taken_with_the_answer() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"w\x07")
    assert quick._answer(ours)[0] == b"w"
    assert ours.recv(1) == b"\x07"


def test_a_decline_leaves_nothing_open_and_no_signal_blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setitem(quick.posix.environ, b"ATOLL_RUN_ROOT", os.fsencode(tmp_path))
    monkeypatch.delitem(quick.posix.environ, b"ATOLL_TIMING", raising=False)
    with listening(tmp_path) as server:
        child = os.fork()
        if child == 0:
            connection, _ = server.accept()
            connection.recv(1 << 20)
            connection.send(b"c")
            connection.recv(1)
            os._exit(0)
        before = sorted(os.listdir("/proc/self/fd"))
        quick.first(["ps"], ["python3", "-SI", "-c", "", "/x"])
        assert sorted(os.listdir("/proc/self/fd")) == before
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
        os.waitpid(child, 0)


def test_it_imports_what_is_built_in() -> None:
    """A start that imports `os` has lost half of what this is for."""
    found = {module.split(".")[0] for module, _ in imports(SOURCE / "cli/quick.py", at_import=True)}
    assert found == {"__future__", "posix", "_socket", "_signal"}
    script = (
        f"import sys; sys.path.append({str(SOURCE.parent)!r}); import atoll.cli.quick; print('os' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-SI", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "False"
