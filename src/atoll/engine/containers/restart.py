"""restart: stop a container if it runs, then start it."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.record import Record
from atoll.engine.containers.start import start
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.containers.stop import stop
from atoll.engine.events import note as events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine


def restart(
    engine: Engine,
    name: str,
    *,
    timeout: int | None = None,
    signum: int | None = None,
    warn: Callable[[str], None] | None = None,
) -> None:
    """Stop (as `stop`) and start (as `start`). Raises NotFound, FailedPrecondition for one that goes with its end,
    and what those raise."""
    row = engine.store.container(name)
    if is_up(state_of(engine, row.id)):
        if Record.from_text(row.record).remove:
            raise errors.FailedPrecondition(
                f"cannot restart container {row.name}: it was made with --rm, so nothing of it is left when it stops",
                hint="run it again without --rm",
            )
        stop(engine, row.id, timeout=timeout, signum=signum, warn=warn)
    start(engine, row.id)
    events.container(engine, row.id, "restart")
