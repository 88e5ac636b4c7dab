"""The worker's side: what it takes for the same place, its end, its request."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from atoll.cli import main as command
from atoll.cli import quick, warm


def test_a_child_of_ours_is_in_our_place() -> None:
    child = os.fork()
    if child == 0:
        time.sleep(60)
    try:
        assert warm._place(child) == warm._place(os.getpid())
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_nicer_child_is_not() -> None:
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.nice(1)
        os.write(tell, b"x")
        time.sleep(60)
    try:
        os.read(ready, 1)
        assert warm._place(child) != warm._place(os.getpid())
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)


def test_what_is_sent_is_received() -> None:
    """More than a message holds, with arguments that are no text, and with descriptors."""
    ours, theirs = socket.socketpair()
    null = os.open("/dev/null", os.O_RDONLY)
    child = os.fork()
    if child == 0:
        environ = {b"A": b"x" * 300_000, b"B": b""}
        quick._send(ours, "/x", ["run", "caf\udce9", ""], environ, (null, null))  # type: ignore[arg-type]
        os._exit(0)
    received = warm._receive(theirs)
    os.waitpid(child, 0)
    os.close(null)
    assert received is not None
    words, fds = received
    assert words == [quick.VERSION, b"/x", b"3", b"run", b"caf\xe9", b"", b"A=" + b"x" * 300_000, b"B="]
    assert len(fds) == 2
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("data", [b"", b"\x01", (1 << 30).to_bytes(4, "little") + b"x", b"\x09\0\0\0abc"])
def test_what_is_no_request(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(data)
    ours.close()
    assert warm._receive(theirs) is None


@pytest.mark.parametrize(
    ("fault", "code"),
    [(SystemExit(3), 3), (SystemExit(None), 0), (SystemExit("no"), 1), (RuntimeError("x"), 1)],
)
def test_ends_as_the_interpreter_would(
    fault: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(argv: list[str]) -> int:
        raise fault

    monkeypatch.setattr(command, "main", main)
    assert warm._run(["ps"]) == code
    assert ("no\n" in capsys.readouterr().err) is (str(fault) == "no")


@pytest.mark.parametrize(
    ("environ", "same"),
    [
        ({}, True),
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "de_DE.utf8"}, True),
        ({"LANG": "de_DE"}, False),
        ({"LANG": "C.UTF-8", "LC_ALL": "de_DE.ISO-8859-1"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "POSIX", "LANG": "de_DE"}, True),
    ],
)
def test_the_locale(environ: dict[str, str], same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", environ)
    assert warm._speaks_utf8() is same


def test_an_edited_file_looks_different(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("a = 1\n")
    before = warm._looks([str(path)])
    os.utime(path, ns=(1, 1))
    assert warm._looks([str(path)]) != before
    assert str(Path(warm.__file__)) in warm._files()


def test_when_this_process_began() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0 if abs(time.time_ns() - warm._began()) < 30_000_000_000 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert warm._began() <= time.time_ns()


def test_everything_loaded_ahead_exists() -> None:
    for name in warm._LOADED:
        __import__(name)
        assert name in sys.modules
