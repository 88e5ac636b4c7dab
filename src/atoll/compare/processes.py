"""Which processes a comparison has brought about, and what memory is theirs.

Holds: `below`, `passing`, `pss`, `name_of`, `end`, `reap`. Everything that is started for a comparison stays below
its process, which is the subreaper of all that detaches itself (prctl(2)), so that nobody else's process is ever
counted or ended.
"""

from __future__ import annotations

import os
import time


def below(pid: int) -> set[int]:
    """The descendants of a process, zombies excepted."""
    children: dict[int, list[int]] = {}
    dead = set()
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(name))
        if fields[0] in (b"Z", b"X"):
            dead.add(int(name))
    found: set[int] = set()
    ahead = [pid]
    while ahead:
        for child in children.get(ahead.pop(), ()):
            if child not in found:
                found.add(child)
                ahead.append(child)
    return found - dead


def name_of(pid: int) -> str:
    """The name of its program (proc(5), comm); "" for one that has ended."""
    return _read(f"/proc/{pid}/comm").strip()


def command_line(pid: int) -> str:
    """Its words, with spaces between them."""
    return _read(f"/proc/{pid}/cmdline").replace("\0", " ")


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Whether it runs (a zombie does not)."""
    stat = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return bool(stat) and stat[0] not in "ZX"


def passing(pids: set[int]) -> set[int]:
    """Those that a spawner forked beforehand and lets go when it has been idle for ten seconds; one of them may
    become the next container's."""
    return {pid for pid in pids if command_line(pid).startswith(("atoll:[spare]", "atoll:[command]"))}


def pss(pids: set[int]) -> tuple[int, int]:
    """Bytes of proportional set size of these processes together (proc(5), smaps_rollup: each page divided by how
    many share it), and how many of them could not be read."""
    total, unread = 0, 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                line = next((one for one in file if one.startswith("Pss:")), "")
        except PermissionError:
            unread += 1
            continue
        except OSError:  # it has ended, or is about to
            continue
        total += int(line.split()[1]) * 1024 if line else 0
    return total, unread


def end(pids: set[int], seconds: float = 5.0) -> None:
    """SIGKILL to each, and wait until they have gone, children of ours reaped."""
    for pid in pids:
        try:
            os.kill(pid, 9)
        except OSError:
            continue
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except OSError:
            continue


def reap() -> None:
    """Take leave of everything that was orphaned below this process, and has ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
