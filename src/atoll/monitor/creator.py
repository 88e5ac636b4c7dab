"""Reads a command's request and has the runtime make the process.

Holds: `first_request`, `make`, `write_down`, `warm_up`. Does not hold: what becomes of it (`monitor.py`,
`session.py`). Runs in a clerk (`service.py` says what that is).
"""

from __future__ import annotations

import os
import resource
import sys

from atoll.base import errors, jsontext, timing
from atoll.base.value import Value
from atoll.guest import enter
from atoll.monitor import foreign, keeper, record, sockets
from atoll.monitor.protocol import (
    ATTACH_SOCKET,
    CONTROL,
    DATA_MAX,
    NETWORK_SOCKET,
    REQUEST_MAX,
    VERSION,
    FrameReader,
    Malformed,
    check_version,
    parse_control,
)
from atoll.monitor.record import CREATE, EXEC, Charge
from atoll.monitor.requests import Caller, Create, Exec
from atoll.monitor.spares import INIT
from atoll.monitor.stdio import Stdio, open_stdio
from atoll.runtime import create as runtime_create
from atoll.runtime import early as early_init
from atoll.runtime import exec as runtime_exec
from atoll.runtime import usual
from atoll.runtime.cgroups.detect import detect
from atoll.runtime.sync import LIMIT
from atoll.runtime.validate import validate

# What the runtime loads only where a container needs it, this long-lived process has from its start: a fork need not
# load it each time (3 ms a run), and what is replaced on the disk meanwhile is not mixed with what runs.
for _later in (
    "_sha256" if sys.version_info < (3, 12) else "_sha2",
    "atoll.linux.lsm",
    "atoll.linux.nsfs",
    "atoll.runtime.cgroup_mounts",
    "atoll.runtime.cgroups.stats",
    "atoll.runtime.copyup",
    "atoll.runtime.hooks",
    "atoll.runtime.idmap",
    "atoll.runtime.notify",
    "atoll.runtime.placement",
    "atoll.runtime.seccomp.cache",
    "atoll.runtime.seccomp.flags",
    "atoll.runtime.seccomp.profile",
    "atoll.runtime.seccomp.programs",
):
    __import__(_later)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

    from atoll.base.rollback import Rollback
    from atoll.monitor.spares import Spare
    from atoll.runtime.create import Created
    from atoll.runtime.early import Early
    from atoll.runtime.plan import InitPlan


class Kept(Value):
    """What the keeper of a container holds (`keeper.py`, and the socket for further commands), as descriptors."""

    keeper: int
    door: int


class Made(Value):
    """The outcome of a request: the process and its descriptors by name (`pidfd`, `sync`, and `console`, or `stdin`,
    `stdout`, `stderr` as far as there are any), or the error. With `promise` the command will clean up,
    with `start` it wants the container started as soon as it is on record. `kept` are the lock of who keeps it and
    its door, where the record was written beside the creation (`write_down`)."""

    charge: Charge
    kept: Kept | None = None
    fds: Any = None
    error: errors.AtollError | None = None
    promise: bool = False
    start: bool = False


def first_request(connection: socket, early: Early | None = None) -> dict[str, Any] | None:
    """The first message, however long the command takes to send it; None if it leaves before. It comes alone: a
    command waits for its answer. `early` reads it too. Raises Malformed, OSError."""
    reader = FrameReader(REQUEST_MAX)
    while True:
        data = connection.recv(DATA_MAX)
        if not data:
            return None
        frames = reader.feed(data)
        if frames:
            if len(frames) > 1 or frames[0][0] != CONTROL or reader.partial:
                raise Malformed("more than a request")
            if early is not None:
                early.tell(frames[0][1])
            return parse_control(frames[0][1])


def make(message: dict[str, Any], early: Early | None = None) -> Made:
    """Do what the request asks for. Raises Malformed, or the error of a request that cannot be understood; what
    fails later is in the result, and the container's clean-up may be called for."""
    check_version(message)
    do = message.get("do")
    if do == CREATE:
        request = Create.from_json(message.get("request"))
        start = message.get("start") is True
        made = _create(request, promise=message.get("promise") is True, start=start, early=early)
        return made.replace(start=start)
    if early is not None:
        early.let_go()
    if do == EXEC:
        return execute(Exec.from_json(message.get("request")))
    raise Malformed(f"unknown request {do!r}")


def _create(request: Create, *, promise: bool, start: bool, early: Early | None) -> Made:
    charge = Charge(
        what=CREATE,
        id=request.id,
        run=request.run,
        bundle=request.bundle,
        terminal=request.terminal,
        stdin=request.stdin,
        stdin_stays=request.stdin_stays,
        keep_unstarted=request.keep_unstarted,
        log=request.log,
        on_exit=request.on_exit,
        env=request.caller.env,
        health=request.health,
        events=request.events,
    )
    stdio = None
    if f"{timing.VARIABLE}=1" in request.caller.env:
        timing.begin()
    try:
        # An earlier run's end must not be taken for this one's.
        record.forget_exit(request.bundle)
        timing.mark("request")
        take_rlimits(request.caller)
        stdio = None if request.terminal else open_stdio(stdin=request.stdin, run=request.run)
        inside = None if stdio is None else stdio.inside
        if request.runtime:
            made = foreign.create(request, inside, start=start)
            if early is not None:
                early.let_go()
            return _made(charge, made, stdio, promise)
        kept: list[Kept] = []

        def recorded(pid: int, undo: Rollback) -> None:
            kept.append(write_down(charge.replace(pid=pid), undo))

        created = _create_own(request, inside, early, recorded)
    except (errors.AtollError, OSError) as error:
        return _failed(charge, stdio, error, f"create container {request.id[:12]}", promise)
    return _made(charge, created, stdio, promise).replace(kept=kept[0])


def write_down(charge: Charge, undo: Rollback) -> Kept:
    """Take on the company of a container that is all but there: the lock before the record, so that who finds that
    the process named there is dead, and the lock free, may take over; then the door. Raises Conflict, OSError."""
    held = keeper.hold(charge.run)
    if held is None:
        raise errors.Conflict(f"somebody else keeps container {charge.id[:12]} company")
    undo.push(os.close, held)
    record.write_monitor(charge, pid=os.getppid(), version=VERSION)
    undo.push(os.unlink, f"{charge.run}/{record.MONITOR_FILE}")
    path = f"{charge.run}/{ATTACH_SOCKET}"
    door = sockets.listen(path).detach()
    undo.push(os.unlink, path)
    undo.push(os.close, door)
    return Kept(keeper=held, door=door)


def _create_own(
    request: Create,
    inside: tuple[int, int, int] | None,
    early: Early | None,
    recorded: Callable[[int, Rollback], None],
) -> Created:
    return runtime_create.create(
        container_id=request.id,
        spec=request.spec,
        root=request.root,
        bundle=request.bundle,
        run=request.run,
        stdio=inside,
        terminal=request.terminal,
        cache=request.cache,
        helpers=request.helpers,
        stands=request.stands,
        cloned=_hand_over_of(request.run),
        recorded=recorded,
        early=early,
    )


def _hand_over_of(run: str) -> Callable[[int], None] | None:
    """Where a command waits for the container's network namespace, which an ordinary user cannot open once the init
    is not dumpable: send it there as soon as there is one."""
    path = f"{run}/{NETWORK_SOCKET}"
    if not os.path.exists(path):
        return None

    def hand_over(pid: int) -> None:
        ns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        peer = sockets.connect(path)
        try:
            sockets.send_with_fds(peer, b"n", (ns,))
        finally:
            peer.close()
            os.close(ns)

    return hand_over


def begin_early(spare: Spare) -> Early | None:
    """In a spare: an init that waits; None for who may not make one, or is short of something."""
    if os.geteuid() != 0:
        return None
    try:
        return early_init.begin(lambda end: _await_plan(end, spare), spare.report.fileno())
    except OSError:
        return None


def _await_plan(end: socket, spare: Spare) -> InitPlan | None:
    """In an early init: make ready, read the request as it came to the creator, then what the creator made of it."""
    spare.warm(INIT)
    made = usual.make()
    raw = end.recv(LIMIT)
    if not raw:
        return None
    try:
        message = jsontext.loads(raw)
        if message.get("do") != CREATE:
            return None
        request = Create.from_json(message.get("request"))
    except (errors.AtollError, ValueError, AttributeError):
        return None  # its creator tells what is wrong with it
    early_init.enter(request.spec)
    take_rlimits(request.caller)
    plan = early_init.receive(
        end, container_id=request.id, spec=request.spec, root=request.root, bundle=request.bundle, run=request.run
    )
    if plan is None:
        return None
    trees = usual.trees_for(request.spec, made)
    return plan.replace(
        held=(spare.report.fileno(),),
        ready=lambda: spare.learn(INIT),
        trees=trees,
        dev_filled=bool(trees),
    )


def execute(request: Exec) -> Made:
    """Have a process executed in a running container; what fails is in the result."""
    charge = Charge(
        what=EXEC,
        id=request.id,
        run=request.run,
        terminal=request.terminal,
        stdin=request.stdin,
        detached=request.detached,
        events=request.events,
        command=request.process.args if request.events else (),
    )
    stdio = None
    try:
        take_rlimits(request.caller)
        if not request.terminal:
            stdio = open_stdio(stdin=request.stdin and not request.detached, run=None, discard=request.detached)
        inside = None if stdio is None else stdio.inside
        if os.path.exists(f"{request.run}/{foreign.NOTE}"):
            made = foreign.execute(request, inside)
            return _made(charge, made, stdio, promise=False)
        wanted, stands = request.process, os.path.exists(f"{request.run}/{enter.NOTE}")
        if stands:  # it runs in the machine, and this one stands for it
            wanted = enter.entering(wanted, request.run)
        created = runtime_exec.exec_process(
            run=request.run, process_spec=wanted, stdio=inside, terminal=request.terminal, stands=stands
        )
    except (errors.AtollError, OSError) as error:
        return _failed(charge, stdio, error, "execute a process in the container", promise=False)
    return _made(charge, created, stdio, promise=False)


def _made(charge: Charge, created: Created | foreign.Made, stdio: Stdio | None, promise: bool) -> Made:
    fds = {"pidfd": created.pidfd}
    if created.sync >= 0:
        fds["sync"] = created.sync
    if created.console is not None:
        fds["console"] = created.console
    if stdio is not None:
        stdio.close_inside()
        if stdio.stdin >= 0:
            fds["stdin"] = stdio.stdin
        fds.update(zip(("stdout", "stderr"), stdio.outputs, strict=False))
    return Made(charge=charge.replace(pid=created.pid), fds=fds, promise=promise)


def _failed(charge: Charge, stdio: Stdio | None, error: Exception, what: str, promise: bool) -> Made:
    if stdio is not None:
        stdio.close()
    if isinstance(error, OSError):
        error = errors.from_os_error(error, what)
    assert isinstance(error, errors.AtollError)
    return Made(charge=charge, error=error, promise=promise)


def take_rlimits(caller: Caller) -> None:
    """Take over the caller's limits where they differ: the init inherits them. What the kernel refuses (raising a
    hard limit without CAP_SYS_RESOURCE) stays as it is."""
    for number, limits in enumerate(caller.rlimits):
        try:
            if resource.getrlimit(number) != limits:
                resource.setrlimit(number, limits)
        except (ValueError, OSError):
            continue


_SAMPLE = """{"id":"0","bundle":"/","run":"/","on_exit":["/"],"log":{"driver":"none"},"caller":{"env":["A=B"]},
"root":[{"step":"overlay","lower":["/"]},{"step":"bind","source":"/","target":"/"}],"spec":{"ociVersion":"1.2.1",
"process":{"cwd":"/","args":["/"],"env":["A=B"],"user":{"uid":0,"gid":0},"noNewPrivileges":true,"capabilities":
{"bounding":["CAP_CHOWN"]},"rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":1}]},"root":{"path":"/"},"hostname":"a",
"mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["nosuid"]}],"linux":{"namespaces":
[{"type":"pid"},{"type":"mount"},{"type":"uts"}],"maskedPaths":["/"],"resources":{"pids":{"limit":1},"memory":{"limit":1}}}}}"""


def warm_up() -> None:
    """Do once, to no effect, what the request will ask for: a forked page is copied at its first write (several
    microseconds each on a virtual machine), and the command is still busy. What fails here will fail again, and be
    told, with the request."""
    try:
        creation = Create.from_json(jsontext.loads(_SAMPLE))
        validate(creation.spec, has_root=True)
        detect()
        open_stdio(stdin=True, run=None).close()
    except (errors.AtollError, OSError):
        pass
