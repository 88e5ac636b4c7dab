"""What survives the engine's death: its daemon's, and that of the process which watches over one container.

Holds: `measure`. Only processes of this comparison's own engines are killed: daemons and spawners of the user go on.
"""

from __future__ import annotations

import time

from atoll.base import errors
from atoll.compare import processes
from atoll.compare.copies import FAILURES
from atoll.compare.values import NEITHER, Cell, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.copies import Copy
    from atoll.compare.measures.rounds import Session
    from atoll.compare.rungs.way import Way

SECTION = "what survives the engine's death"
_ROWS = (
    (
        "helper",
        "SIGKILL to what watches over the one",
        "whether its program goes on after SIGKILL to every process that came with the container and is not of its "
        "program: monitor, shim, conmon",
    ),
    (
        "daemon",
        "SIGKILL to what stands beside all",
        "if its program goes on after SIGKILL to every process that stands beside all containers (daemon, spawner)",
    ),
)
_LOOK_SECONDS, _APPEAR_SECONDS = 1.0, 10.0


def measure(session: Session) -> list[Row]:
    """Two rows of words."""
    cells: dict[str, dict[str, Cell]] = {key: {} for key, _, _ in _ROWS}
    for way in session.ways:
        session.say(f"survival: {way.name}")
        for key, act in (("helper", _helper), ("daemon", _daemon)):
            try:
                cells[key][way.name] = _tried(session, way, act)
            except FAILURES as error:
                cells[key][way.name] = Cell(reason=str(error))
    return [
        Row(key=f"survival {key}", section=SECTION, title=title, unit="", better=NEITHER, how=how, cells=cells[key])
        for key, title, how in _ROWS
    ]


def _tried(session: Session, way: Way, act: object) -> Cell:
    before = session.place.descendants()
    before -= processes.passing(before)
    copy = way.start_detached("w")
    try:
        deadline = time.monotonic() + _APPEAR_SECONDS
        while not (work := way.workload(session.place.descendants() - before)) and time.monotonic() < deadline:
            time.sleep(0.02)  # between the start and execve it has another name
        came = session.place.descendants() - before
        if not work:
            raise errors.Unavailable("its program's process is not to be seen from here")
        assert callable(act)
        found = act(way, copy, came, work)
        assert isinstance(found, Cell)
        return found
    finally:
        for pid in way.workload(session.place.descendants() - before):
            _kill({pid})
        way.remove(copy)


def _daemon(way: Way, copy: Copy, came: set[int], work: set[int]) -> Cell:
    # Children of a daemon that came with the container are its watchers, which the other row is about.
    spawners = {pid for pid in came if "[spawner]" in processes.command_line(pid)}
    standing = way.standing() - work - (came - spawners)
    if not standing:
        return Cell(text="has none")
    _kill(standing)
    if not _lives(work):
        return Cell(text="dies")
    return Cell(text="goes on" if way.has_daemon or way.listed(copy) else "goes on, not listed")


def _helper(way: Way, copy: Copy, came: set[int], work: set[int]) -> Cell:
    within = work | {below for pid in work for below in processes.below(pid)}
    helpers = came - within - way.standing()
    helpers = {
        pid for pid in helpers if not processes.command_line(pid).startswith(("atoll:[spare]", "atoll:[spawner]"))
    }
    if way.own_kernel:
        # The keeper, or the gofer, is of the machine itself: what watches over it is the first process of those.
        helpers = {
            pid for pid in helpers if "[monitor]" in processes.command_line(pid) or "shim" in processes.name_of(pid)
        }
    if not helpers:
        return Cell(text="has none")
    _kill(helpers)
    return Cell(text="goes on" if _lives(work) else "dies")


def _kill(pids: set[int]) -> None:
    import os

    for pid in pids:
        try:
            os.kill(pid, 9)
        except OSError:
            continue


def _lives(pids: set[int]) -> bool:
    """Whether they are still there after a while."""
    deadline = time.monotonic() + _LOOK_SECONDS
    while time.monotonic() < deadline:
        if not any(processes.alive(pid) for pid in pids):
            return False
        time.sleep(0.05)
    return True
