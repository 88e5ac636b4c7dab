"""The creator: a short-lived child of a monitor that reads the request and has the runtime make the process.

Holds: `run` (the creator's whole life), `Handover` (what the monitor gets from it). Does not hold: what the monitor
does with it (`monitor.py`, `session.py`).

Why a process of its own: parsing a spec and creating a container writes to some 700 pages that the spawner's forks
share. In the monitor they would be its own for as long as the container lives (2.7 MiB instead of 0.4); here they go
with the creator. Its child, the container's init, then comes to the monitor, the nearest subreaper (prctl(2)).
It also takes the caller's rlimits in the monitor's stead.

    monitor                                   creator
    1 socket pair, fork ────────────────────▶ 2 warm up while the command prepares its request
    4 waits                                   3 read the request; rlimits; streams; runtime.create or exec_process
    6 the init is its child ◀──────────────── 5 Handover with the descriptors; end
"""

from __future__ import annotations

import resource
import select

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.linux.title import set_title
from atoll.monitor import record, sockets
from atoll.monitor.protocol import (
    CONTROL,
    DATA_MAX,
    FDS_MAX,
    REQUEST_MAX,
    VERSION,
    FrameReader,
    Malformed,
    check_version,
    control,
    parse_control,
)
from atoll.monitor.requests import Caller, Create, Exec, LogPlan
from atoll.monitor.stdio import Stdio, open_stdio
from atoll.runtime import cgroups
from atoll.runtime import create as runtime_create
from atoll.runtime import exec as runtime_exec
from atoll.runtime.validate import validate
from atoll.spec.codec import dump, flag, int64, list_of, one_of, parse, text
from atoll.spec.codec import record as record_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

    from atoll.runtime.create import Created

CREATE, EXEC = "create", "exec"


class Handover(Value):
    """What a monitor needs to know of the request, and the process that was made: `pid`, or `error` if none was.

    Its descriptors come in the order of `names`: `pidfd`, `sync`, and `console`, or `stdin`, `stdout`, `stderr` as
    far as there are any.
    """

    what: str
    id: str
    run: str
    bundle: str = ""
    terminal: bool = False
    stdin: bool = False
    stdin_stays: bool = False
    keep_unstarted: bool = False
    detached: bool = False
    promise: bool = False
    log: LogPlan = LogPlan(driver="none")
    on_exit: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    pid: int | None = None
    names: tuple[str, ...] = ()
    error: Any = None
    WIRE = {
        "what": one_of(CREATE, EXEC),
        "id": text,
        "run": text,
        "bundle": text,
        "terminal": flag,
        "stdin": flag,
        "stdin_stays": flag,
        "keep_unstarted": flag,
        "detached": flag,
        "promise": flag,
        "log": record_of(LogPlan),
        "on_exit": list_of(text),
        "env": list_of(text),
        "pid": int64,
        "names": list_of(text),
        "error": lambda wire, path: wire,
    }

    def failure(self) -> errors.AtollError:
        """Why there is no process."""
        return errors.from_json(self.error)


def run(connection: socket, monitor: socket) -> None:
    """The creator's life: one request, one hand-over to `monitor`. A command that leaves or talks nonsense is
    answered with nothing, and the monitor then ends as well."""
    set_title("atoll:[creator]")
    reader = FrameReader(REQUEST_MAX)
    try:
        if not select.select([connection.fileno()], [], [], 0)[0]:
            _warm_up()
        message = _first(connection, reader)
        if message is None:
            return
        if message.get("do") == "ping":
            connection.sendall(control({"is": "pong", "v": VERSION}))
            return
        handover, fds = _made(message)
    except errors.AtollError as error:
        connection.sendall(control({"is": "error", "error": error.to_json()}))
        return
    except (Malformed, OSError):
        return
    sockets.send_with_fds(monitor, control(dump(handover)), fds)


def receive(creator: socket) -> tuple[Handover, dict[str, int]] | None:
    """The monitor's end: what was made, and its descriptors by name; None if the creator ended without it."""
    reader = FrameReader(REQUEST_MAX)
    held: list[int] = []
    while True:
        data, fds = sockets.receive_with_fds(creator, DATA_MAX, FDS_MAX)
        held += fds
        if not data:
            return None
        for _, payload in reader.feed(data):
            handover = parse(Handover, parse_control(payload), "hand-over")
            return handover, dict(zip(handover.names, held, strict=True))


def _first(connection: socket, reader: FrameReader) -> dict[str, Any] | None:
    """The first message, however long the command takes to send it; None if it leaves before. It comes alone: a
    command waits for its answer."""
    while True:
        data = connection.recv(DATA_MAX)
        if not data:
            return None
        frames = reader.feed(data)
        if frames:
            if len(frames) > 1 or frames[0][0] != CONTROL or reader.partial:
                raise Malformed("more than a request")
            return parse_control(frames[0][1])


def _made(message: dict[str, Any]) -> tuple[Handover, tuple[int, ...]]:
    """Do what the request asks for. Raises Malformed, or the error of a request that cannot be understood; what
    fails later is part of the hand-over, whose monitor may have to clean up."""
    check_version(message)
    do = message.get("do")
    if do == CREATE:
        creation = Create.from_json(message.get("request"))
        return _create(creation, promise=message.get("promise") is True)
    if do == EXEC:
        return _exec(Exec.from_json(message.get("request")))
    raise Malformed(f"unknown request {do!r}")


def _create(request: Create, *, promise: bool) -> tuple[Handover, tuple[int, ...]]:
    handover = Handover(
        what=CREATE,
        id=request.id,
        run=request.run,
        bundle=request.bundle,
        terminal=request.terminal,
        stdin=request.stdin,
        stdin_stays=request.stdin_stays,
        keep_unstarted=request.keep_unstarted,
        promise=promise,
        log=request.log,
        on_exit=request.on_exit,
        env=request.caller.env,
    )
    try:
        # An earlier run's end must not be taken for this one's.
        record.forget_exit(request.bundle)
        take_rlimits(request.caller)
        stdio = None if request.terminal else open_stdio(stdin=request.stdin, run=request.run)
        created = runtime_create.create(
            container_id=request.id,
            spec=request.spec,
            root=request.root,
            bundle=request.bundle,
            run=request.run,
            stdio=None if stdio is None else stdio.inside,
            terminal=request.terminal,
            cache=request.cache,
            helpers=request.helpers,
        )
    except (errors.AtollError, OSError) as error:
        return handover.replace(error=_wire(error, f"create container {request.id[:12]}")), ()
    return _with_process(handover, created, stdio)


def _exec(request: Exec) -> tuple[Handover, tuple[int, ...]]:
    handover = Handover(
        what=EXEC,
        id=request.id,
        run=request.run,
        terminal=request.terminal,
        stdin=request.stdin,
        detached=request.detached,
    )
    try:
        take_rlimits(request.caller)
        stdio = None
        if not request.terminal:
            stdio = open_stdio(stdin=request.stdin and not request.detached, run=None, discard=request.detached)
        created = runtime_exec.exec_process(
            run=request.run,
            process_spec=request.process,
            stdio=None if stdio is None else stdio.inside,
            terminal=request.terminal,
        )
    except (errors.AtollError, OSError) as error:
        return handover.replace(error=_wire(error, "execute a process in the container")), ()
    return _with_process(handover, created, stdio)


def _with_process(handover: Handover, created: Created, stdio: Stdio | None) -> tuple[Handover, tuple[int, ...]]:
    """The hand-over of a process that was made. The streams' inner ends stay here and go with this process."""
    named = {"pidfd": created.pidfd, "sync": created.sync}
    if created.console is not None:
        named["console"] = created.console
    elif stdio is not None:
        if stdio.stdin >= 0:
            named["stdin"] = stdio.stdin
        named.update(zip(("stdout", "stderr"), stdio.outputs, strict=False))
    return handover.replace(pid=created.pid, names=tuple(named)), tuple(named.values())


def _wire(error: Exception, what: str) -> dict[str, str | None]:
    if isinstance(error, OSError):
        error = errors.from_os_error(error, what)
    assert isinstance(error, errors.AtollError)
    return error.to_json()


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
[{"type":"pid"},{"type":"mount"}],"maskedPaths":["/"],"resources":{"pids":{"limit":1},"memory":{"limit":1}}}}}"""


def _warm_up() -> None:
    """Do once, to no effect, what the request will ask for: a forked page is copied at its first write (several
    microseconds each on a virtual machine), and the command is still busy."""
    creation = Create.from_json(jsontext.loads(_SAMPLE))
    validate(creation.spec, has_root=True)
    cgroups.detect()
    open_stdio(stdin=True, run=None).close()
