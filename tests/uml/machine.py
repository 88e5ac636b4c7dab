"""Boot a user-mode Linux on the host's files, run one command in it as root, and get what it said.

`run(argv)` is all. The guest sees the host's whole file system read-only (hostfs), with tmpfs over /tmp, /run,
/var/tmp, /root and /dev/shm, its own /proc, /sys, /dev and cgroup v2 at /sys/fs/cgroup. It has no network.

The kernel is an ordinary process with many helpers, which it leaves behind when it is killed: so it gets a session
of its own, and a cgroup of its own where there is a unified tree, and both are emptied whatever happens.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KERNEL = "linux.uml"
TMPFS = ("/tmp", "/run", "/var/tmp", "/root", "/dev/shm")
GUEST = Path(__file__).resolve().parent / "guest.py"
REPOSITORY = GUEST.parent.parent.parent


@dataclass(frozen=True)
class Result:
    """`status` is the command's exit code (negative: the signal that ended it), None if the machine did not get to
    the end; `console` is what its kernel said."""

    status: int | None
    output: str
    console: str


def available() -> bool:
    """Whether the machine can be booted here."""
    return shutil.which(KERNEL) is not None


def run(
    argv: Sequence[str],
    *,
    timeout: float = 120,
    environment: Mapping[str, str] | None = None,
    cwd: str | Path = REPOSITORY,
    memory: str = "1024M",
    tmpfs: Sequence[str] = TMPFS,
    arguments: Sequence[str] = (),
) -> Result:
    """Run one command inside; `arguments` are more words for its kernel. Raises TimeoutError after `timeout` seconds,
    with nothing left running."""
    variables = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
    }
    # A checkout below /tmp, say, must stay in sight: the guest keeps the host's directory there and writes elsewhere.
    needed = [f"{Path(place).resolve()}/" for place in (cwd, REPOSITORY, sys.prefix, sys.base_prefix)]
    covered = [place for place in tmpfs if not any(one.startswith(f"{place}/") for one in needed)]
    if covered:
        variables["TMPDIR"] = covered[0]
    job = {
        "argv": list(argv),
        "environment": {**variables, **(environment or {})},
        "cwd": str(cwd),
        "tmpfs": covered,
    }
    with tempfile.TemporaryDirectory(prefix="atoll-uml-") as exchange:
        Path(exchange, "job.json").write_text(json.dumps(job))
        console = Path(exchange, "console")
        finished = _boot(exchange, console, memory, arguments, timeout)
        said = _text(Path(exchange, "output"))
        kernel = _text(console)
        if not finished:
            raise TimeoutError(
                f"{' '.join(argv)} in user-mode Linux: over {timeout} s\n{said[-4000:]}\n{kernel[-2000:]}"
            )
        status = _text(Path(exchange, "status"))
        return Result(status=int(status) if status else None, output=said, console=kernel)


def _boot(exchange: str, console: Path, memory: str, arguments: Sequence[str], timeout: float) -> bool:
    """Start the kernel and wait for its end. False if it took too long."""
    command = [
        KERNEL,
        f"mem={memory}",
        "root=/dev/root",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        "quiet",
        "con=null",
        "con0=null,fd:1",
        f"uml_dir={exchange}/",
        *arguments,
        f"init={GUEST.parent / 'start'}",
        "--",
        exchange,
    ]
    group = _make_cgroup()
    try:
        with console.open("wb") as stream:
            kernel = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", ""), "TMPDIR": _memory_place(exchange)},
                preexec_fn=lambda: _join(group),
            )
            try:
                kernel.wait(timeout)
                return True
            except subprocess.TimeoutExpired:
                return False
            finally:
                _end_session(kernel.pid)
                kernel.wait()
    finally:
        _remove_cgroup(group)


def _memory_place(otherwise: str) -> str:
    """Where the guest's memory lies, in a file that the kernel unlinks at once: a tmpfs if there is room."""
    return "/dev/shm" if os.path.ismount("/dev/shm") else otherwise


def _end_session(session: int) -> None:
    """SIGKILL to every process of a session until none is left; zombies count as gone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        members = _session_members(session)
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not members:
            return
        time.sleep(0.02)


def _session_members(session: int) -> list[int]:
    members = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                stat = Path("/proc", entry, "stat").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            state, _, _, sid = stat[stat.rindex(b")") + 2 :].split()[:4]
            if int(sid) == session and state not in (b"Z", b"X"):
                members.append(int(entry))
    return members


def _make_cgroup() -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup2 "):
            group = Path(left.split()[4], f"atoll-uml-{os.getpid()}-{time.monotonic_ns()}")
            try:
                group.mkdir()
            except OSError:
                return None
            return group
    return None


def _join(group: Path | None) -> None:
    if group is not None:
        try:
            Path(group, "cgroup.procs").write_text("0")
        except OSError:
            pass  # the session is then what is left to find its helpers by


def _remove_cgroup(group: Path | None) -> None:
    if group is None:
        return
    if Path(group, "cgroup.kill").exists():
        Path(group, "cgroup.kill").write_text("1")
    deadline = time.monotonic() + 10
    while True:
        try:
            group.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command in user-mode Linux.")
    parser.add_argument("--timeout", type=float, default=120, help="seconds")
    parser.add_argument("--memory", default="1024M")
    parser.add_argument("--console", action="store_true", help="show what the kernel said too")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    result = run(given.command, timeout=given.timeout, memory=given.memory)
    sys.stdout.write(result.output)
    if given.console or result.status is None:
        sys.stderr.write(result.console)
    return 125 if result.status is None else result.status if result.status >= 0 else 128 - result.status


if __name__ == "__main__":
    sys.exit(main())
