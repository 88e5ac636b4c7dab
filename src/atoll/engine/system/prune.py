"""system prune: pods and containers that do not run, images that nothing needs, volumes if asked for, blobs that are
half fetched, and what virtual machines were made of before."""

from __future__ import annotations

from atoll.base.value import Value
from atoll.engine.containers import prune as containers
from atoll.engine.filters import read_prune
from atoll.engine.images import prune as images
from atoll.engine.system import machines
from atoll.images import ingest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


class Pruned(Value):
    """What went of each kind, and the bytes given back."""

    containers: tuple[str, ...]
    volumes: tuple[str, ...]
    images: tuple[str, ...]
    reclaimed: int


def check_filters(filters: tuple[str, ...]) -> None:
    """Raises InvalidArgument for filters that not every kind has: `until`, `label`, `label!`."""
    read_prune(filters)


def prune(engine: Engine, *, every: bool = False, volumes: bool = False, filters: tuple[str, ...] = ()) -> Pruned:
    """In Docker's order: containers first, because they keep images and volumes. Raises InvalidArgument."""
    check_filters(filters)
    from atoll.engine.pods.prune import prune as prune_pods

    prune_pods(engine, filters)
    gone = containers.prune(engine, filters)
    reclaimed = gone.reclaimed
    names: tuple[str, ...] = ()
    if volumes:
        from atoll.engine.volumes import remove

        away = remove.prune(engine, filters=tuple([one for one in filters if not one.startswith("until=")]))
        names, reclaimed = away.names, reclaimed + away.bytes
    pruned = images.prune(engine, every=every, filters=filters)
    return Pruned(
        containers=gone.ids,
        volumes=names,
        images=pruned.lines,
        reclaimed=reclaimed + pruned.reclaimed + _partials(engine) + machines.prune(engine),
    )


def _partials(engine: Engine) -> int:
    """Blobs that broke off and nobody is fetching; the bytes given back."""
    content = engine.content()
    ingest.sweep(content)
    return sum(one.size for one in content.partials() if content.remove_partial(one.digest))
