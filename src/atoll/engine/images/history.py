"""history: the steps that an image was made of."""

from __future__ import annotations

from atoll.base.value import Value
from atoll.engine.images.resolve import need
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


class Step(Value):
    """One step, newest first. `id` is the image's for the newest, None ("<missing>") for those below, as only the
    whole has an identity; `size` is bytes unpacked, 0 for a step without a layer; `created` RFC 3339."""

    id: str | None
    created: str | None
    created_by: str
    size: int
    comment: str
    tags: tuple[str, ...] = ()
    chain_id: str | None = None


def history(engine: Engine, name: str) -> list[Step]:
    """Newest first. A history that does not fit the layers gets a line for each layer. Raises NotFound."""
    from atoll.spec.image import History, parse_config

    row = need(engine, name)
    config = parse_config(row.config.encode(), name)
    layers = engine.store.layers(row.id)
    lines = list(config.history)
    told = sum(not one.empty_layer for one in lines)
    if told != len(layers):  # nothing in the format makes them agree: the layers are what is there
        lines = [one for one in lines if not one.empty_layer][: len(layers)]
        lines += [History(created=config.created)] * (len(layers) - len(lines))
    steps: list[Step] = []
    position = 0
    for line in lines:
        layer = None
        if not line.empty_layer:
            layer = layers[position]
            position += 1
        steps.append(
            Step(
                id=None,
                created=line.created,
                created_by=line.created_by or "",
                size=layer.size if layer else 0,
                comment=line.comment or "",
                chain_id=layer.chain_id if layer else None,
            )
        )
    steps.reverse()
    tags = tuple([references.parse(one.reference).familiar for one in engine.store.tags(row.id) if one.tag])
    if not steps:
        return [Step(id=row.id, created=config.created, created_by="", size=0, comment="", tags=tags)]
    return [steps[0].replace(id=row.id, tags=tags), *steps[1:]]
