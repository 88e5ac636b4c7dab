"""volume rm, volume prune: away with what no container uses."""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.filters import by_kind, has_labels, truth
from atoll.engine.volumes import store
from atoll.engine.volumes.users import users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.volumes.store import Volume


class Pruned(Value):
    """What a prune took away: names, and the bytes that were theirs on disk."""

    names: tuple[str, ...]
    bytes: int


def remove(engine: Engine, name: str) -> None:
    """Remove a volume. Raises NotFound; Conflict while a container uses it, in Docker's words."""
    with store.lock(engine):  # nobody is about to use it: a container's making holds the lock until its row is there
        volume = store.find(engine, name)
        used = users(engine).get(name)
        if used:
            raise errors.Conflict(f"remove {name}: volume is in use - [{', '.join(used)}]")
        store.remove_tree(engine, volume.path)


def prune(engine: Engine, *, all: bool = False, filters: tuple[str, ...] = ()) -> Pruned:
    """Remove the anonymous volumes that no container uses; with `all`, or the filter `all=true`, named ones too.
    Raises InvalidArgument."""
    given = by_kind(filters, ("all", "label", "label!"))
    everything = all or any(truth("all", value) for value in given.get("all", ()))
    with store.lock(engine):
        store.sweep(engine)
        used = users(engine)
        going = [
            volume
            for volume in store.everything(engine)
            if volume.name not in used and (everything or volume.anonymous) and has_labels(volume.labels, given)
        ]
        freed = sum([_size(engine, volume) for volume in going])
        for volume in going:
            store.remove_tree(engine, volume.path)
    return Pruned(names=tuple([volume.name for volume in going]), bytes=freed)


def _size(engine: Engine, volume: Volume) -> int:
    from atoll.snapshots.store import tree_usage

    try:
        return tree_usage(volume.mountpoint).bytes
    except OSError:  # of other ids: what is not to be seen is not counted
        return 0
