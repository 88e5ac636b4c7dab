"""attach: join the streams of a container that runs."""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.events import note as events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow
    from atoll.isolation.protocol import Attachment


class Attached(Value):
    """An attachment to a container's first process, and what its user has to know of the container: whether it has a
    terminal and open input (`stdin_stays`: also when whoever fed it has left), whether it goes with its end.
    `promised`: whoever holds this is to `finish` it."""

    id: str
    attachment: Any
    terminal: bool
    stdin: bool
    stdin_stays: bool = False
    remove: bool = False
    promised: bool = False

    @classmethod
    def to(cls, container_id: str, record: Record, attachment: Attachment, *, promised: bool = False) -> Attached:
        """What a container's record has to say beside an attachment to it."""
        return cls(
            id=container_id,
            attachment=attachment,
            terminal=record.terminal,
            stdin=record.stdin,
            stdin_stays=record.stdin_stays,
            remove=record.remove,
            promised=promised,
        )


def attach(engine: Engine, name: str, *, stdin: bool) -> Attached:
    """Attach to it, from now on; what it wrote before is in its log. `stdin`: send input, too.

    Raises NotFound, FailedPrecondition in Docker's words for one that does not run.
    """
    row = engine.store.container(name)
    status = state_of(engine, row.id).status
    if status == PAUSED:
        raise errors.FailedPrecondition("You cannot attach to a paused container, unpause it first")
    if status != RUNNING:
        raise errors.FailedPrecondition("You cannot attach to a stopped container, start it first")
    return attached_to(engine, row, stdin=stdin)


def attached_to(engine: Engine, row: ContainerRow, *, stdin: bool) -> Attached:
    """The same, for a row whose container is known to run. Raises FailedPrecondition if its monitor was killed."""
    record = Record.from_text(row.record)
    try:
        attachment = engine.driver.attach(engine.paths.container_run(row.id), stdin=stdin and record.stdin)
    except errors.NotFound:
        raise errors.FailedPrecondition(
            f"cannot attach to container {row.name}: nobody keeps it company any more",
            hint=f"'atoll logs {row.name}' has what it wrote until then; a restart gives it a new monitor",
        ) from None
    events.container(engine, row.id, "attach")
    return Attached.to(row.id, record, attachment)
