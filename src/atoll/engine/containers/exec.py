"""exec: one more process in a running container."""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.engine.containers import environment
from atoll.engine.containers.plan import check_user, process_of
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.events.note import plan_of
from atoll.isolation.protocol import ExecPlan
from atoll.spec import runtime as oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.requests import ExecRequest
    from atoll.isolation.protocol import Attachment


def execute(engine: Engine, request: ExecRequest) -> Attachment:
    """Execute it, attached. Raises NotFound, FailedPrecondition in Docker's words, and why it could not be run."""
    row = engine.store.container(request.container)
    status = state_of(engine, row.id)
    if status.status == PAUSED:
        raise errors.FailedPrecondition(f"Container {row.name} is paused, unpause the container before exec")
    if status.status != RUNNING:
        raise errors.FailedPrecondition(f"Container {row.id} is not running")
    record = Record.from_text(row.record)
    plan = ExecPlan(
        id=os.urandom(32).hex(),
        run=engine.paths.container_run(row.id),
        process=_process(record, request, environment.given(request.env, engine.environ)),
        terminal=request.terminal,
        stdin=request.stdin,
        detached=request.detach,
        events=plan_of(engine, row.id, record, row.name),
    )
    try:
        return engine.driver.exec(plan)
    except errors.NotFound as error:
        if not error.message.startswith("unable to find "):
            raise
        # A user or group that the container lacks: Docker's exit code for an exec that could not begin is 126.
        raise errors.CommandNotExecutable(error.message, hint=error.hint) from None


def _process(record: Record, request: ExecRequest, env: list[str]) -> oci.Process:
    workdir = record.workdir if request.workdir is None else request.workdir
    if not workdir.startswith("/"):
        raise errors.InvalidArgument(f"the working directory '{workdir}' is invalid, it needs to be an absolute path")
    joined = record.replace(
        terminal=request.terminal,
        workdir=workdir,
        user=record.user if request.user is None else check_user(request.user),
    )
    process = process_of(joined, args=request.command, env=tuple(env))
    if request.window is not None:
        process = process.replace(console_size=oci.Box(height=request.window[0], width=request.window[1]))
    if request.privileged:
        from atoll.linux.capability import NAMES

        everything = tuple(NAMES)
        process = process.replace(
            capabilities=oci.Capabilities(bounding=everything, effective=everything, permitted=everything),
            no_new_privileges=False,
        )
    return process
