"""top: the processes of a container, as the host sees them.

Nothing runs inside: the host's own ps(1) is asked, of all processes, and its lines are picked by their pid. Where
there is none, the columns of `ps -ef` are read from /proc.
"""

from __future__ import annotations

import os

from atoll.base import errors
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
    if machine.is_in_one(row):
        return _in_machine(engine, row.id, options)
    pids = engine.driver.pids(engine.paths.container_run(row.id))
    events.container(engine, row.id, "top")
    program = next((place for place in _PLACES if os.access(place, os.X_OK)), None)
    if program is None:
        if options:
            raise errors.Unsupported("cannot give ps options: ps is not installed", hint="apt install procps")
        from atoll.runtime.processes import look

        return _shown(look(pids))
    _check(options)
    return pick(_ask(program, options or _DEFAULT), pids)


def _in_machine(engine: Engine, container_id: str, options: tuple[str, ...]) -> Top:
    """As the guest counts them; ids are the guest's."""
    from atoll.isolation import vm_pod
    from atoll.isolation.files.machine import MachineFiles

    if options:
        raise errors.Unsupported("isolation level 'vm' cannot give ps options", hint="run ps in the container")
    run = engine.paths.container_run(container_id)
    rows = vm_pod.top(run)
    if rows is None:
        with MachineFiles.of_running(run) as files:
            rows = files.top()
    events.container(engine, container_id, "top")
    return _shown(rows)


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


def _shown(rows: list[tuple[str, ...]]) -> Top:
    """Those of `runtime/processes.py`, with users by the names that they have here."""
    found = tuple([(_user(row[0]), *row[1:]) for row in rows])
    return Top(titles=("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"), rows=found)


def _user(uid: str) -> str:
    import pwd

    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (KeyError, ValueError, OverflowError):
        return uid
