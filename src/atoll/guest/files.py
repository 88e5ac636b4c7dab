"""What is asked of the container's files and processes in this guest, by a process of its own: a fork of the agent.

Holds: `begin`, `JOBS`. Does not hold: who asks (`isolation/files/machine.py`), how files are read and written
(`runtime/files`, `snapshots/diff.py`), the way in (`keeper.py`, `agent.py`): one job is one session, its streams are
the job's archive, and on its standard error it says how it went, as JSON.

    stat, get, put    in the container's root, of the one that runs or, in a machine that is held, of the one that has
                      ended: its root is mounted for the job alone, by nobody else seen
    changes, layer    what the writable layer changes of the image
    top, kill         the container's processes
"""

from __future__ import annotations

import os

from atoll.base import errors, jsontext
from atoll.base.rollback import Rollback
from atoll.guest import setup
from atoll.linux import process
from atoll.runtime import state
from atoll.runtime.plan import Created

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PLACE = f"{setup.RUN}/held"


def begin(request: dict[str, Any], stdio: tuple[int, int, int]) -> Created:
    """Start the process for one job. Raises OSError."""
    heard, said = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become(request, stdio)
    os.close(said)
    return Created(pid=pid, pidfd=os.pidfd_open(pid), sync=heard)


def _become(request: dict[str, Any], stdio: tuple[int, int, int]) -> NoReturn:
    code = 1
    try:
        for number, fd in enumerate([os.dup(fd) for fd in stdio]):
            os.dup2(fd, number)
        process.close_range(3)
        try:
            answer = _done(request)
        except errors.AtollError as error:
            answer = {"error": error.to_json()}
        except OSError as error:
            answer = {"error": errors.from_os_error(error, f"do {request.get('do')!r} in the machine").to_json()}
        os.write(2, jsontext.dumps(answer).encode())
        code = 0
    finally:
        os._exit(code)


def _done(request: dict[str, Any]) -> dict[str, Any]:
    if request["do"] in JOBS:
        return {"done": JOBS[request["do"]](request)}
    from atoll.runtime.files import confined

    if "held" in request:
        os.makedirs(PLACE, 0o700, exist_ok=True)
        hello = {**request["held"], "idmap": None, "bundle": setup.BUNDLE, "place": PLACE, "bare": request["bare"]}
        confined.enter(hello, [])
    else:
        known, pidfd = _container()
        confined.enter({"pid": known.pid, "bare": request["bare"]}, [pidfd])
    confined.forget_the_way_back()
    answer = confined.job(request, [0 if request["do"] == "put" else 1])
    if request["do"] == "put" and "held" in request:
        os.sync()  # nothing else writes any more
    return answer


def _container() -> tuple[state.State, int]:
    known = state.read(setup.CONTAINER)
    pidfd = state.open_init(known)
    if pidfd is None:
        raise errors.NotFound("the container has ended meanwhile")
    return known, pidfd


def _changes(request: dict[str, Any]) -> dict[str, Any]:
    """A line each, as JSON, on the standard output."""
    from atoll.snapshots.diff import changes

    upper, lower = _layers()
    found = changes(upper, [lower], skip=frozenset(request["skip"]))
    with os.fdopen(os.dup(1), "wb") as out:
        for one in found:
            out.write(jsontext.dumps([one.kind, os.fsencode(one.path).hex()]).encode() + b"\n")
    return {"entries": len(found)}


def _layer(request: dict[str, Any]) -> dict[str, Any]:
    from atoll.runtime.pause import pause, resume
    from atoll.snapshots.diff import write_layer

    upper, lower = _layers()
    with os.fdopen(os.dup(1), "wb") as out, Rollback() as undo:
        if request["pause"]:
            pause(setup.CONTAINER)
            undo.push(resume, setup.CONTAINER)
        facts = write_layer(upper, out.write, [lower], skip=frozenset(request["skip"]))
    return {"entries": facts.entries}


def _layers() -> tuple[int, int]:
    how = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    return os.open(f"{setup.WRITABLE}/upper", how), os.open(setup.IMAGE, how)


def _top(request: dict[str, Any]) -> dict[str, Any]:
    from atoll.runtime.cgroups.cgroup import Cgroup
    from atoll.runtime.processes import look

    known, _ = _container()
    pids = Cgroup.from_json(known.cgroup).pids() if known.cgroup is not None else [known.pid]
    return {"rows": [list(row) for row in look(pids)]}


def _kill(request: dict[str, Any]) -> dict[str, Any]:
    from atoll.runtime.kill import kill

    kill(setup.CONTAINER, process.SIGKILL, all=True)
    return {}


JOBS = {"changes": _changes, "kill": _kill, "layer": _layer, "top": _top}
"""Those that need no root to be entered."""
