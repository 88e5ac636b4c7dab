"""Another container's namespaces: which one is meant, when a container is made; its first process, at each launch.

Holds: `settle`, `resolve`. Does not hold: the flags' words (`sharing.py`). A process ends and another has its number:
what is kept is the container's id, never a path below /proc.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers import sharing
from atoll.engine.containers.state import RUNNING, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest
    from atoll.isolation.protocol import ContainerPlan


def settle(engine: Engine, request: RunRequest) -> RunRequest:
    """The request with other containers by their full ids. Raises InvalidArgument, NotFound in Docker's words, and
    FailedPrecondition for one whose IPC namespace is not to be shared."""
    assert request.sharing is not None
    sharing.check(request.sharing, request)
    changes = {}
    for name in ("ipc", "pid"):
        word = getattr(request.sharing, name)
        if not word.startswith(sharing.CONTAINER):
            continue
        row = engine.store.container(word.removeprefix(sharing.CONTAINER))
        if name == "ipc":
            from atoll.engine.containers.record import Record

            other = Record.from_text(row.record).sharing
            if other is None or other.ipc != "shareable":
                raise errors.FailedPrecondition(
                    f"cannot join IPC of container {row.name}: non-shareable IPC",
                    hint="start that one with --ipc=shareable",
                )
        changes[name] = sharing.CONTAINER + row.id
    return request.replace(sharing=request.sharing.replace(**changes)) if changes else request


def resolve(engine: Engine, plan: ContainerPlan) -> ContainerPlan:
    """The plan for one launch: see `sharing.resolve`. Raises FailedPrecondition in Docker's words for a container
    that does not run."""

    def pid_of(container_id: str, kind: str) -> int:
        row = engine.store.container(container_id)
        status = state_of(engine, row.id)
        if status.status != RUNNING or not status.pid:
            raise errors.FailedPrecondition(
                f"cannot join {kind.upper()} namespace of a non running container: {row.name}", hint="start it first"
            )
        return status.pid

    return sharing.resolve(plan, pid_of)
