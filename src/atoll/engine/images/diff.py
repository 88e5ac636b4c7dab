"""image diff: what the last layer of an image changes, or what differs between two images."""

from __future__ import annotations

from atoll.engine.images.resolve import need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.snapshots.diff import Change


def diff(engine: Engine, name: str, other: str | None = None) -> list[Change]:
    """From the image without its last layer to the image; with `other`, from the one to the other. Raises NotFound,
    also when layers are not unpacked."""
    from atoll.snapshots.merged import compared_of

    chains = engine.store.chain_ids(need(engine, name).id)
    if other is None:
        return compared_of(engine.snapshots, chains[:-1], chains)
    return compared_of(engine.snapshots, chains, engine.store.chain_ids(need(engine, other).id))
