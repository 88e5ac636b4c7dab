"""Another container's namespaces: which one is meant, when a container is made; its first process, at each launch.

Holds: `settle`, `resolve`. Does not hold: the flags' words (`sharing.py`). A process ends and another has its number:
what is kept is the container's id, never a path below /proc.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.engine.containers import sharing
from atoll.engine.containers.state import RUNNING, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest
    from atoll.isolation.protocol import ContainerPlan
    from atoll.spec.idmap import RootlessMap


def settle(engine: Engine, request: RunRequest) -> tuple[RunRequest, RootlessMap | None]:
    """The request with other containers by their full ids, and the container's id map. Raises InvalidArgument,
    NotFound in Docker's words, FailedPrecondition for one whose IPC namespace is not to be shared, and what
    `sharing.user_map` does."""
    wanted = request.sharing or sharing.Sharing()
    if not wanted.userns and not wanted.uid_map and engine.uid == 0 and request.image != "host":
        privileged = request.rights is not None and request.rights.privileged
        wanted = wanted.replace(userns="host" if privileged else engine.config.userns)
    sharing.check(wanted, request)
    changes: dict[str, Any] = {}
    for name in ("ipc", "pid", "uts"):
        word = getattr(wanted, name)
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
    idmap = sharing.user_map(
        wanted,
        engine.idmap,
        uid=engine.uid,
        gid=engine.gid,
        taken=_taken(engine) if wanted.userns.startswith("auto") else (),
        start=int.from_bytes(os.urandom(2), "big"),
    )
    if wanted.userns.startswith("auto") and idmap is not None:
        # Kept as the range it is: the same one at each start, and in use for as long as the container is there.
        line = idmap.uid_map[0]
        changes["uid_map"] = changes["gid_map"] = (f"{line.inside}:{line.outside}:{line.count}",)
    return request.replace(sharing=wanted.replace(**changes)), idmap


def _taken(engine: Engine) -> list[int]:
    """The first ids of the ranges that containers of `--userns auto` have."""
    from atoll.engine.containers.record import Record

    found = []
    for row in engine.store.containers():
        other = Record.from_text(row.record).sharing
        if other is not None and other.userns.startswith("auto") and other.uid_map:
            found.append(int(other.uid_map[0].split(":")[1]))
    return found


def resolve(engine: Engine, plan: ContainerPlan) -> ContainerPlan:
    """The plan for one launch: see `sharing.resolve`. Raises FailedPrecondition in Docker's words for a container
    that does not run."""

    def pid_of(container_id: str, kind: str) -> int:
        row = engine.store.container(container_id)
        status = state_of(engine, row.id)
        if row.pod is not None and status.status != RUNNING:
            from atoll.engine.containers.record import Record

            if Record.from_text(row.record).infra:
                from atoll.engine.pods.infra import wake

                wake(engine, row)
                status = state_of(engine, row.id)
        if status.status != RUNNING or not status.pid:
            raise errors.FailedPrecondition(
                f"cannot join {kind.upper()} namespace of a non running container: {row.name}", hint="start it first"
            )
        return status.pid

    return sharing.resolve(plan, pid_of)
