"""fork: copies of a container that runs, which go on from the same state, while it goes on itself."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.checkpoints import copies, store
from atoll.engine.checkpoints.save import refuse, sweep, take
from atoll.engine.events import note as events
from atoll.engine.locks import lock_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.engine.engine import Engine

MOST = 1000


def fork(
    engine: Engine, container: str, *, names: tuple[str, ...] = (), count: int = 1, publish: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yields the id of each copy as soon as it runs. They have the `names`, or names of their own. The container
    stands still while its memory is copied, once, however many there are.

    Each is whole or not there; those that were made stay if a later one fails. Raises as `save` and `create`.
    """
    if not 1 <= count <= MOST:
        raise errors.InvalidArgument(f"a container is copied between once and {MOST} times, not {count}")
    if names and len(names) != count:
        raise errors.InvalidArgument(f"{len(names)} names for {count} copies")
    row = engine.store.container(container)
    refuse(engine, row, memory=True)
    with lock_container(engine.paths.container(row.id)) as lock:
        sweep(engine, row.id)
        try:
            making = store.making(engine, row.id)
        except OSError as error:
            raise errors.from_os_error(error, "save the machine") from error
        with making:
            try:
                with take(engine, row, making.place, memory=True) as machine:
                    machine.go_on()
            except OSError as error:
                raise errors.from_os_error(error, "save the machine") from error
            lock.release()
            for number in range(count):
                request = copies.request_of(engine, row, name=names[number] if names else None, publish=publish)
                made = copies.make(engine, request, making.place, memory=True)
                events.container(engine, made, "restore", fork=row.id)
                yield made
