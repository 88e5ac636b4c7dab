"""wait: until a container has ended, or has come to another state."""

from __future__ import annotations

import time

from atoll.base import errors
from atoll.engine.containers.state import CREATED, EXITED, PAUSED, RUNNING, is_up, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

NOT_RUNNING, NEXT_EXIT, REMOVED = "not-running", "next-exit", "removed"
_ENDS = {
    NOT_RUNNING: NOT_RUNNING,
    "exited": NOT_RUNNING,
    "stopped": NOT_RUNNING,
    NEXT_EXIT: NEXT_EXIT,
    REMOVED: REMOVED,
}
_STATES = (CREATED, RUNNING, PAUSED)
CONDITIONS = (*_ENDS, *_STATES)
_POLL_SECONDS = 0.05


def wait(engine: Engine, name: str, condition: str = NOT_RUNNING) -> int:
    """The exit code, once the condition holds: Docker's `not-running` (at once for one that has ended or was never
    started), `next-exit`, `removed`; or a state, Podman's `running`, `paused`, `created`: then -1.

    Raises NotFound, InvalidArgument.
    """
    if condition not in CONDITIONS:
        raise errors.InvalidArgument(f'invalid condition: "{condition}"', hint="known are " + ", ".join(CONDITIONS))
    row = engine.store.container(name)
    if condition in _STATES:
        return _until_state(engine, row.id, condition)
    code: int | None
    if _ENDS[condition] == NEXT_EXIT:
        code = _next_exit(engine, row.id)
    else:
        code = _present_end(engine, row.id, started=condition == REMOVED)
    if condition == REMOVED:
        _until_gone(engine, row.id)
    return code


def _present_end(engine: Engine, container_id: str, *, started: bool) -> int:
    """The code of the run that goes on, or went on last. With `started` one that never was is waited for."""
    status = state_of(engine, container_id)
    if status.status == CREATED and status.pid is None:
        if not started or status.error is not None:
            return status.exit_code or 0
        try:
            _until_state(engine, container_id, RUNNING, PAUSED, EXITED)
        except errors.NotFound:
            return 0
    ended = engine.driver.wait(engine.paths.container_run(container_id), engine.paths.container(container_id), None)
    return 0 if ended.exit_code is None else ended.exit_code


def _next_exit(engine: Engine, container_id: str) -> int:
    before = state_of(engine, container_id)
    while not is_up(before):
        engine.store.container(container_id)
        now = state_of(engine, container_id)
        if is_up(now):
            break
        if now.status == EXITED and now.finished_at != before.finished_at:  # so short that we saw only its end
            return now.exit_code or 0
        time.sleep(_POLL_SECONDS)
    return _present_end(engine, container_id, started=False)


def _until_state(engine: Engine, container_id: str, *wanted: str) -> int:
    """Looked for again and again: nobody tells of beginnings."""
    while True:
        engine.store.container(container_id)
        if state_of(engine, container_id).status in wanted:
            return -1
        time.sleep(_POLL_SECONDS)


def _until_gone(engine: Engine, container_id: str) -> None:
    while True:
        try:
            engine.store.container(container_id)
        except errors.NotFound:
            return
        time.sleep(_POLL_SECONDS)
