"""inspect of an image, in the shape of Docker's API."""

from __future__ import annotations

from atoll.base import clock, errors
from atoll.engine.images.resolve import artifact_type, need
from atoll.spec import codec
from atoll.spec import image as documents
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.store import ImageRow


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """Docker's `ImageInspect`. Raises NotFound, InvalidArgument."""
    row = need(engine, name)
    config = documents.parse_config(row.config.encode(), name)
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
    _describe(engine, row, document)
    return document


def _describe(engine: Engine, row: ImageRow, document: dict[str, Any]) -> None:
    """What the manifest says: its type and annotations (Podman's keys), and of an artifact its type and blobs."""
    store = engine.content()
    try:
        target = store.read(row.target, limit=documents.MAX_MANIFEST_BYTES)
        body = store.read(row.manifest, limit=documents.MAX_MANIFEST_BYTES)
        outer = documents.parse_document(target, None, row.target)
        manifest = documents.parse_document(body, None, row.manifest)
    except errors.AtollError:  # 'system check' tells of it
        return
    if not isinstance(manifest, documents.Manifest):
        return
    document["Descriptor"] = {"mediaType": outer.media_type, "digest": row.target, "size": len(target)}
    if outer.annotations:
        document["Descriptor"]["annotations"] = dict(outer.annotations)
    document["ManifestType"] = manifest.media_type
    document["Annotations"] = dict(manifest.annotations) or None
    kind = artifact_type(row)
    if kind is not None:
        document["ArtifactType"] = kind
        document["Blobs"] = [codec.dump(one) for one in manifest.layers]
        if manifest.subject is not None:
            document["Subject"] = codec.dump(manifest.subject)
