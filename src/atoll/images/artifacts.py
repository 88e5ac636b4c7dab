"""Artifacts: manifests whose configuration is no image's (OCI 1.1, `artifactType`). Kept, moved on, never run.

Holds: what kind an artifact is, its blobs, the configuration that stands in for one in the store's rows. Does not
hold: fetching (`pull.py`), sending (`engine/images/push.py`). Source: image-spec 1.1, manifest.md, "Guidelines for
Artifact Usage". Many artifacts share one configuration, `{}`, so that an artifact is known by its manifest's digest
where an image is by its configuration's.
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.spec import image as documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.spec.image import Descriptor, ImageConfig, Manifest

_CREATED = "org.opencontainers.image.created"


def kind_of(manifest: Manifest) -> str | None:
    """The type of an artifact; None for an image. As the specification says it: `artifactType`, else the type of the
    configuration."""
    if manifest.config.media_type in (documents.OCI_CONFIG, documents.DOCKER_CONFIG):
        return None
    return manifest.artifact_type or manifest.config.media_type


def blobs_of(manifest: Manifest) -> list[Descriptor]:
    """All that the manifest names, each once. Raises Corrupt for one digest of two sizes."""
    found: dict[str, Descriptor] = {}
    for one in (manifest.config, *manifest.layers):
        if found.setdefault(one.digest, one).size != one.size:
            raise errors.Corrupt(f"{one.digest} is announced with {one.size} bytes and with {found[one.digest].size}")
    return list(found.values())


def config_text(manifest: Manifest) -> str:
    """What stands in the row instead of an image's configuration: no platform, no layers, and the artifact's type."""
    wire: dict[str, Any] = {
        "architecture": "unknown",
        "os": "unknown",
        "rootfs": {"type": "layers", "diff_ids": []},
        "artifactType": kind_of(manifest),
    }
    created = dict(manifest.annotations).get(_CREATED)
    if created:
        wire["created"] = created
    return jsontext.dumps(wire)


def config_of(manifest: Manifest) -> ImageConfig:
    """The same as a value."""
    return documents.parse_config(config_text(manifest).encode())
