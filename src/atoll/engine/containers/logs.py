"""logs: where a container's output is."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.plan import log_name
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import EXITED, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine


def logs(engine: Engine, name: str) -> tuple[str, Callable[[], bool]]:
    """The path of the newest log file, and a function that tells whether more may come.

    Raises NotFound, FailedPrecondition when nothing is kept.
    """
    row = engine.store.container(name)
    if Record.from_text(row.record).log_driver == "none":
        raise errors.FailedPrecondition("configured logging driver does not support reading")

    def running() -> bool:
        try:
            status = state_of(engine, engine.store.container(row.id).id)
        except errors.NotFound:
            return False
        return status.status != EXITED and status.exit_code is None

    return f"{engine.paths.container(row.id)}/{log_name(row.id)}", running
