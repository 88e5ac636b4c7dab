"""volume create."""

from __future__ import annotations

from atoll.base import errors, ids
from atoll.engine.volumes import options as meaning
from atoll.engine.volumes import store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def create(
    engine: Engine,
    name: str | None,
    *,
    driver: str = "local",
    labels: tuple[tuple[str, str], ...] = (),
    options: tuple[tuple[str, str], ...] = (),
) -> str:
    """Make a volume, or find it there as asked; its name. Raises InvalidArgument, Conflict, Denied, Unsupported."""
    if driver != "local":
        raise errors.NotFound(f'plugin "{driver}" not found', hint="the driver here is 'local'")
    if name is not None and not ids.valid_name(name):
        raise errors.InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    meaning.check(options, engine.uid)
    chosen = name or ids.new_id()
    with _shared(engine):
        store.ensure(engine, chosen, labels=labels, options=options, anonymous=name is None)
    return chosen


class _shared:
    """volumes.lock, shared, for a block."""

    def __init__(self, engine: Engine) -> None:
        self._lock = store.lock(engine)

    def __enter__(self) -> None:
        self._lock.acquire(shared=True)

    def __exit__(self, *how: object) -> None:
        self._lock.release()
