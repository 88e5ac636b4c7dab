"""A container's networks at its creation and its launch, in one call each for `containers/`.

Holds: `join` (the wishes are written down) and `create` (processes and networks together). Does not hold: the steps
(`attach.py`), what comes after the end (`release.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.base.rollback import Rollback
from atoll.engine.networks import attach, handover, outer, rows
from atoll.engine.networks.release import release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.record import Record
    from atoll.engine.engine import Engine
    from atoll.isolation.protocol import Attachment, ContainerPlan


def join(engine: Engine, container: str, bundle: str, record: Record, name: str) -> None:
    """Write the wishes down: rows for the networks, the rest in the bundle. Raises AtollError, OSError."""
    assert record.networking is not None
    if record.networking.networks:
        rows.join(engine.store, container, record.networking.networks)
    names = tuple(dict.fromkeys((record.hostname, name) if record.hostname != container[:12] else (record.hostname,)))
    attach.save(bundle, record.networking, names)


def create(engine: Engine, plan: ContainerPlan, *, promise: bool, start: bool) -> Attachment:
    """As `Driver.create`, with the container on its networks before its program runs. On failure nothing of it is
    left. Raises AtollError."""
    with Rollback() as undo:
        if any(one.mac for one in rows.of_container(engine.store, plan.id)):
            release(engine, plan.id)  # of a run whose end nobody noticed
        undo.push(release, engine, plan.id)
        prepared = attach.prepare(engine, plan)
        undo.push(prepared.close)
        if not prepared.networks:
            attachment = engine.driver.create(plan, promise=promise, start=start)
            undo.release()
            prepared.close()
            return attachment
        waiting = None if outer.is_host(engine) else handover.Waiting(plan)
        if waiting is not None:
            undo.push(waiting.close)
        attachment = engine.driver.create(plan, promise=promise, start=False)
        undo.push(attachment.close)
        undo.push(_unmake, engine, plan)
        if waiting is not None:
            prepared.ns = waiting.take()
        attach.attach(engine, plan, prepared, _pid(engine, plan))
        if start:
            attachment.send_start()
        undo.release()
        prepared.close()
    return attachment


def _unmake(engine: Engine, plan: ContainerPlan) -> None:
    """Its processes and cgroups, while its run directory still says that there are some."""
    engine.driver.delete(plan.run, plan.bundle, force=True)


def _pid(engine: Engine, plan: ContainerPlan) -> int:
    status = engine.driver.status(plan.run, plan.bundle)
    if not status.pid or not os.path.exists(f"/proc/{status.pid}"):
        raise errors.FailedPrecondition("the container ended before its network was made")
    return status.pid
