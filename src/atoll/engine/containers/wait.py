"""wait: until a container has ended."""

from __future__ import annotations

from atoll.engine.containers.state import CREATED, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def wait(engine: Engine, name: str) -> int:
    """The exit code; at once for one that has ended. One that was never started counts as ended with 0, as in
    Docker. Raises NotFound."""
    row = engine.store.container(name)
    status = state_of(engine, row.id)
    if status.status == CREATED and status.pid is None:
        return status.exit_code or 0
    ended = engine.driver.wait(engine.paths.container_run(row.id), engine.paths.container(row.id), None)
    return 0 if ended.exit_code is None else ended.exit_code
