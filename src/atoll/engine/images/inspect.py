"""inspect of an image, in the shape of Docker's API."""

from __future__ import annotations

from atoll.base import clock
from atoll.engine.images.resolve import need
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """Docker's `ImageInspect`. Raises NotFound, InvalidArgument."""
    from atoll.spec.image import parse_config

    row = need(engine, name)
    config = parse_config(row.config.encode(), name)
    tags = engine.store.tags(row.id)
    parsed = [(references.parse(tag.reference), tag) for tag in tags]
    layers = engine.store.layers(row.id)
    lower = [engine.snapshots.layer_dir(layer.chain_id) for layer in reversed(layers)]
    document: dict[str, Any] = {
        "Id": row.id,
        "RepoTags": [reference.familiar for reference, tag in parsed if tag.tag is not None],
        "RepoDigests": sorted({f"{reference.familiar_name}@{tag.digest}" for reference, tag in parsed}),
        "Parent": "",
        "Comment": config.history[-1].comment or "" if config.history else "",
        "Created": config.created or clock.ZERO,
        "Author": config.author or "",
        "Config": config.config.to_json(),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": row.size,
        "GraphDriver": {"Name": "overlay2", "Data": {"LowerDir": ":".join(lower)}},
        "RootFS": {"Type": "layers", "Layers": [layer.diff_id for layer in layers]},
        "Metadata": {"LastTagTime": clock.rfc3339(max([tag.updated_at for tag in tags], default=row.created_at))},
        "Descriptor": {"digest": row.target},
    }
    if config.variant:
        document["Variant"] = config.variant
    return document
