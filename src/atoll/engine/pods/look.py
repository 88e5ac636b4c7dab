"""pod top, pod stats, pod logs: what goes on in all containers of a pod."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.logs import entries as entries_of
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.containers.stats import Sample, sample
from atoll.engine.containers.top import Top
from atoll.engine.containers.top import top as top_of
from atoll.engine.pods import rows
from atoll.engine.pods.each import members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow
    from atoll.monitor.log_reading import Entry

_QUEUE = 1000


def top(engine: Engine, name: str, options: tuple[str, ...] = ()) -> Top:
    """The processes of all its containers. Raises NotFound, FailedPrecondition for a pod of which nothing runs, and
    what `containers.top` does."""
    row = rows.find(engine, name)
    titles: tuple[str, ...] = ()
    found: list[tuple[str, ...]] = []
    for one in members(engine, row):
        if is_up(state_of(engine, one.id)):
            part = top_of(engine, one.id, options)
            titles, found = part.titles, [*found, *[line for line in part.rows if line not in found]]
    if not titles:
        raise errors.FailedPrecondition(f"pod top can only be used on pods with a running container: {row.name}")
    return Top(titles=titles, rows=tuple(found))


def samples(engine: Engine, name: str) -> list[tuple[str, Sample]]:
    """The pod's id and a look at each of its containers that runs. Raises NotFound."""
    row = rows.find(engine, name)
    looks = [(row.id, sample(engine, one.id)) for one in members(engine, row)]
    return [(pod, look) for pod, look in looks if look.up]


def logs(
    engine: Engine,
    name: str,
    *,
    only: str | None = None,
    follow: bool = False,
    since: int | None = None,
    until: int | None = None,
    tail: int | None = None,
) -> Iterator[tuple[ContainerRow, Entry]]:
    """What its containers have written, in the order of time; with `follow` also what they go on writing, each
    container's in its order, as it comes. Times in nanoseconds since the epoch. Raises NotFound, also for an `only`
    that is in another pod."""
    import heapq

    row = rows.find(engine, name)
    wanted = members(engine, row, infra=False)
    if only is not None:
        wanted = [one for one in wanted if one.name == only or one.id.startswith(only)]
        if not wanted:
            raise errors.NotFound(f"container {only} is not in pod {row.name}")

    def entries(one: ContainerRow) -> Iterator[tuple[ContainerRow, Entry]]:
        for entry in entries_of(engine, one.id, follow=follow, since=since, until=until, tail=tail):
            yield one, entry

    if follow and len(wanted) > 1:
        return _as_they_come(engine, [one.id for one in wanted], since=since, until=until, tail=tail)
    return heapq.merge(*[entries(one) for one in wanted], key=lambda pair: pair[1].time_ns)


def _as_they_come(
    engine: Engine, containers: list[str], *, since: int | None, until: int | None, tail: int | None
) -> Iterator[tuple[ContainerRow, Entry]]:
    """Of several at once: a thread each waits for one, with an engine of its own, as a store is for one thread. A
    reader that does not read lets them wait."""
    import queue
    import threading

    from atoll.engine.engine import Engine as Another

    lines: queue.Queue[tuple[ContainerRow, Entry] | errors.AtollError | None] = queue.Queue(_QUEUE)

    def follow_one(container: str) -> None:
        try:
            own = Another(engine.environ, engine.uid, engine.gid)
            one = own.store.container(container)
            for entry in entries_of(own, container, follow=True, since=since, until=until, tail=tail):
                lines.put((one, entry))
        except errors.AtollError as error:
            lines.put(error)
        finally:
            lines.put(None)

    for container in containers:
        threading.Thread(target=follow_one, args=(container,), daemon=True).start()
    left = len(containers)
    while left:
        found = lines.get()
        if found is None:
            left -= 1
        elif isinstance(found, errors.AtollError):
            if not isinstance(found, errors.NotFound):
                raise found
        else:
            yield found
