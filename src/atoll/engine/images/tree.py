"""image tree: layers as they stand on one another, with the images that they are the tops of."""

from __future__ import annotations

from atoll.base import ids
from atoll.engine.images.resolve import need
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


class Node:
    """A layer. `images` are the names (or short ids) of the images that end here; `size` is bytes unpacked."""

    def __init__(self, chain_id: str, size: int) -> None:
        self.chain_id = chain_id
        self.size = size
        self.images: list[str] = []
        self.children: list[Node] = []


def tree(engine: Engine, name: str | None = None) -> list[Node]:
    """The bottom layers of all images, or of those that stand on the same bottom as `name`. Raises NotFound."""
    nodes: dict[str, Node] = {}
    tops: list[Node] = []
    wanted = engine.store.chain_ids(need(engine, name).id)[:1] if name is not None else None
    for row in sorted(engine.store.images(), key=lambda one: one.created_at):
        layers = engine.store.layers(row.id)
        if wanted is not None and [one.chain_id for one in layers[:1]] != wanted:
            continue
        below: Node | None = None
        for layer in layers:
            node = nodes.get(layer.chain_id)
            if node is None:
                node = nodes[layer.chain_id] = Node(layer.chain_id, layer.size)
                (below.children if below is not None else tops).append(node)
            below = node
        if below is not None:
            tags = [references.parse(one.reference).familiar for one in engine.store.tags(row.id) if one.tag]
            below.images += tags or [ids.short_id(row.id)]
    return tops
