"""image prune: images without a name, or all that no container uses."""

from __future__ import annotations

import time

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.filters import PRUNE
from atoll.engine.images import garbage
from atoll.engine.images.filters import Filters
from atoll.engine.images.remove import remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.engine.engine import Engine


class Pruned(Value):
    """What went: lines as `rmi` prints them, and the bytes on the disk that came free."""

    lines: tuple[str, ...]
    reclaimed: int


def prune(engine: Engine, *, every: bool = False, filters: Sequence[str] = ()) -> Pruned:
    """Remove images without a name (dangling), or with `every` all that no container is made from. Filters: `until`,
    `label`, `label!`. Raises InvalidArgument for another filter."""
    wanted = check_filters(filters)
    if wanted.dangling is False:
        every = True
    before = _bytes(engine)
    lines: list[str] = []
    for row in sorted(engine.store.images(), key=lambda one: one.created_at):
        tags = engine.store.tags(row.id)
        dangling = not any(tag.tag is not None for tag in tags)
        if engine.store.image_users(row.id) or not (every or dangling) or not wanted.image(row, now=time.time_ns()):
            continue
        try:
            lines += remove(engine, row.id, force=True)
        except (errors.Conflict, errors.NotFound):  # used or removed meanwhile
            continue
    garbage.collect(engine)
    return Pruned(lines=tuple(lines), reclaimed=max(0, before - _bytes(engine)))


def check_filters(filters: Sequence[str]) -> Filters:
    """The filters of a prune. Raises InvalidArgument."""
    return Filters(None, filters, known=(*PRUNE, "dangling"))


def _bytes(engine: Engine) -> int:
    blobs = sum(one.size for one in engine.content().blobs())
    layers = 0
    for chain in engine.snapshots.layers():
        try:
            layers += engine.snapshots.layer_usage(chain).bytes
        except (errors.NotFound, errors.Corrupt):
            continue
    return blobs + layers
