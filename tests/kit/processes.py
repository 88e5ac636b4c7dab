"""Looking at processes through /proc: descendants, Atoll's own by title, namespaces, memory.

Holds: readers only, and `end`, which signals single processes by pid.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """What /proc says of one process; `title` is its command line, or [comm] for a zombie."""

    pid: int
    parent: int
    state: str
    title: str

    def __str__(self) -> str:
        return f"{self.pid} (parent {self.parent}, {self.state}) {self.title}"


def read(pid: int) -> Process | None:
    """One process, or None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            text = stream.read()
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            words = stream.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
    return Process(pid, int(rest[1]), rest[0], words or f"[{name}]")


def everyone() -> list[Process]:
    """Every process visible."""
    found = [read(int(name)) for name in os.listdir("/proc") if name.isdigit()]
    return [process for process in found if process is not None]


def descendants(root: int) -> list[Process]:
    """All below `root`, nearest first."""
    children: dict[int, list[Process]] = {}
    for process in everyone():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(0), [])
        found += below
        waiting += [process.pid for process in below]
    return found


def spawners(run_root: str) -> list[Process]:
    """Atoll's spawners that hold something open, or listen, below this run root; also one that is still starting."""
    return [
        p
        for p in everyone()
        if (p.title.startswith("atoll:[spawner") and _uses(p.pid, run_root))
        or ("atoll.monitor.boot spawner" in p.title and run_root in p.title)
    ]


def monitors(run_root: str) -> list[Process]:
    """Atoll's monitors that hold something open below this run root."""
    return [p for p in everyone() if p.title.startswith("atoll:[monitor") and _uses(p.pid, run_root)]


def _uses(pid: int, folder: str) -> bool:
    inodes = set()
    try:
        with open(f"/proc/{pid}/net/unix") as stream:
            for line in stream:
                words = line.split()
                if len(words) == 8 and words[7].startswith(folder):
                    inodes.add(f"socket:[{words[6]}]")
        for fd in os.listdir(f"/proc/{pid}/fd"):
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
            if link.startswith(folder) or link in inodes:
                return True
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return folder.encode() in stream.read()
    except OSError:
        return False


def holding(folder: str) -> list[str]:
    """Who has a file below it open, mapped or as his directory, and who has an overlay mounted from it."""
    found = []
    for one in everyone():
        base = f"/proc/{one.pid}"
        places = [("cwd", f"{base}/cwd"), ("root", f"{base}/root")]
        try:
            places += [(f"fd {name}", f"{base}/fd/{name}") for name in os.listdir(f"{base}/fd")]
            with open(f"{base}/maps") as stream:
                mapped = {line.split(maxsplit=5)[5].strip() for line in stream if folder in line}
            with open(f"{base}/mountinfo") as stream:
                mounted = [line.strip() for line in stream if folder in line and " overlay " in line]
        except OSError:
            continue
        found += [f"{one}: maps {path}" for path in sorted(mapped)] + [f"{one}: mount {line}" for line in mounted]
        for what, link in places:
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith(folder):
                found.append(f"{one}: {what} {target}")
    return found


def namespaces(pid: int) -> dict[str, str]:
    """Kind → identity, e.g. "mnt" → "mnt:[4026531841]"."""
    found = {}
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
        try:
            found[kind] = os.readlink(f"/proc/{pid}/ns/{kind}")
        except OSError:
            continue
    return found


def pss(pid: int) -> int:
    """The process' share of memory in bytes (/proc/PID/smaps_rollup)."""
    return _rollup(pid, "Pss:")


def anonymous(pid: int) -> int:
    """The process' memory of no file in bytes, shared or not: it grows with what the process keeps, and not because
    another process that shared it has ended."""
    return _rollup(pid, "Anonymous:")


def _rollup(pid: int, field: str) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as stream:
        for line in stream:
            if line.startswith(field):
                return int(line.split()[1]) << 10
    return 0


def end(pid: int, signum: int = signal.SIGTERM, wait: float = 5.0) -> bool:
    """Signal one process and wait until it is gone (or a zombie); SIGKILL when time is up. False if it had to."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return True
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        process = read(pid)
        if process is None or process.state == "Z":
            return True
        time.sleep(0.005)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return False


def reap() -> None:
    """Collect zombies that this process adopted as a subreaper, and none that a Popen waits for."""
    import subprocess

    known = {one.pid for one in getattr(subprocess, "_active", [])}
    for process in everyone():
        if process.parent == os.getpid() and process.state == "Z" and process.pid not in known:
            if process.pid in KEEP:
                continue
            try:
                os.waitpid(process.pid, os.WNOHANG)
            except ChildProcessError:
                continue


KEEP: set[int] = set()
"""Children of ours that somebody waits for by pid: `reap` leaves them alone."""
