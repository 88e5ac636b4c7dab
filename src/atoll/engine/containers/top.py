"""top: the processes of a container, as the host sees them.

Nothing runs inside: the host's own ps(1) is asked, of all processes, and its lines are picked by their pid. Where
there is none, the columns of `ps -ef` are read from /proc.
"""

from __future__ import annotations

import os
import time

from atoll.base import errors, files
from atoll.base.value import Value
from atoll.engine.containers import machine
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.events import note as events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

_PLACES = ("/usr/bin/ps", "/bin/ps")
_DEFAULT = ("-ef",)


class Top(Value):
    """The columns' headings and a row a process, of as many fields; the last one may hold spaces."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def top(engine: Engine, name: str, options: tuple[str, ...] = ()) -> Top:
    """The processes with the columns that ps(1)'s `options` ask for (`-ef` without any), which must have the pid.

    Raises NotFound, FailedPrecondition for one that does not run, InvalidArgument for options without a PID column or
    that ps refuses, Unsupported for options where no ps is installed.
    """
    row = engine.store.container(name)
    if not is_up(state_of(engine, row.id)):
        raise errors.FailedPrecondition(f"Container {row.id} is not running")
    machine.refuse(row, "show a container's processes from outside: run ps in it")
    pids = engine.driver.pids(engine.paths.container_run(row.id))
    events.container(engine, row.id, "top")
    program = next((place for place in _PLACES if os.access(place, os.X_OK)), None)
    if program is None:
        if options:
            raise errors.Unsupported("cannot give ps options: ps is not installed", hint="apt install procps")
        return _own(pids)
    _check(options)
    return pick(_ask(program, options or _DEFAULT), pids)


def _check(options: tuple[str, ...]) -> None:
    """`-o pid=NAME` would hide the pid under another heading."""
    for word in options:
        if any(part.strip().lower().startswith("pid=") for part in word.lstrip("-o ").split(",")):
            raise errors.InvalidArgument("specifying pid with another heading is not allowed")


def _ask(program: str, options: tuple[str, ...]) -> str:
    import subprocess

    done = subprocess.run(
        [program, *options],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=30,
        env={"LC_ALL": "C"},
    )
    if done.returncode:
        raise errors.InvalidArgument(f"ps: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def pick(output: str, pids: list[int]) -> Top:
    """The lines of ps whose pid is one of these. Raises InvalidArgument for output without a PID column."""
    lines = output.splitlines()
    titles = tuple(lines[0].split()) if lines else ()
    if "PID" not in titles:
        raise errors.InvalidArgument("Couldn't find PID field in ps output", hint="add pid to the columns")
    at, wanted = titles.index("PID"), {str(pid) for pid in pids}
    rows = []
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) > at and fields[at] in wanted:
            rows.append(tuple(fields))
    return Top(titles=titles, rows=tuple(rows))


def _own(pids: list[int]) -> Top:
    """The columns of `ps -ef`, from proc_pid_stat(5)."""
    tick, booted = os.sysconf("SC_CLK_TCK"), time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    rows = []
    for pid in sorted(pids):
        try:
            stat = files.read_text(f"/proc/{pid}/stat")
            command = files.read_bytes(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode("utf-8", "replace").strip()
            owner = os.stat(f"/proc/{pid}").st_uid
        except OSError:  # ended meanwhile
            continue
        name, fields = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
        used, began = (int(fields[11]) + int(fields[12])) // tick, booted + int(fields[19]) / tick
        lived = max(1.0, time.time() - began)
        clock = f"{used // 3600:02d}:{used // 60 % 60:02d}:{used % 60:02d}"
        begin = time.strftime("%H:%M" if lived < 86400 else "%b%d", time.localtime(began))
        terminal = "?" if fields[4] == "0" else f"pts/{int(fields[4]) & 0xFF}"
        share = str(min(99, int(100 * used / lived)))
        rows.append((_user(owner), str(pid), fields[1], share, begin, terminal, clock, command or f"[{name}]"))
    return Top(titles=("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"), rows=tuple(rows))


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
