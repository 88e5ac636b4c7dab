"""Signatures beside an image at its registry: found by cosign's tags and by referrers.

Holds: `collect`, `attestations`, `attach`. Does not hold: whether they prove anything (`trust/`), the policy
(`admission.py`). What is found is bounded: a registry that offers a million of them gets an answer too.
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.spec import digest as digests
from atoll.spec import image as documents
from atoll.trust import formats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.images.push import RepositoryDestination
    from atoll.images.remote import Repository
    from atoll.images.source import Document, Read, Source
    from atoll.spec.image import Descriptor, Manifest
    from atoll.trust.evidence import Evidence

_MOST = 64
SIGNATURES, ATTESTATIONS = "sig", "att"
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def tag_of(digest: str, kind: str) -> str:
    """Cosign's tag for what belongs to a digest: `sha256-….sig`."""
    return f"{digest.replace(':', '-', 1)}.{kind}"


def collect(source: Source, wanted: tuple[str, ...], kinds: tuple[str, ...] = (SIGNATURES,)) -> list[Evidence]:
    """All evidence for these digests that the source has; none for a source that keeps none. What is malformed is
    left out: it could prove nothing. Raises Unavailable, Denied when the registry cannot be asked."""
    from atoll.images.remote import Repository

    if not isinstance(source, Repository):
        return []
    found: list[Evidence] = []
    for document in _manifests(source, tuple(dict.fromkeys(wanted)), kinds):
        for layer in document.layers:
            if len(found) >= _MOST:
                return found
            if formats.is_signature(layer.media_type) and layer.size <= formats.MAX_LAYER:
                found += _read(source, layer)
    return found


def _manifests(source: Repository, wanted: tuple[str, ...], kinds: tuple[str, ...]) -> Iterator[Manifest]:
    count = 0
    for digest in wanted:
        for kind in kinds:
            found = _manifest(source, tag_of(digest, kind))
            if found is not None:
                yield found
        index = source.referrers(digest)
        if index is None:
            continue
        parsed = documents.parse_document(index.body, index.media_type, f"the referrers of {digest}")
        for entry in parsed.manifests if isinstance(parsed, documents.Index) else ():
            kind = entry.artifact_type or ""
            if kind != formats.COSIGN_ARTIFACT and not kind.startswith(formats.BUNDLE):
                continue
            count += 1
            if count > _MOST:
                return
            found = _manifest(source, entry.digest)
            if found is not None and found.subject is not None and found.subject.digest == digest:
                yield found


def _manifest(source: Repository, at: str) -> Manifest | None:
    try:
        document = source.document(at)
        parsed = documents.parse_document(document.body, document.media_type, at)
    except (errors.NotFound, errors.Corrupt):
        return None
    return parsed if isinstance(parsed, documents.Manifest) else None


def _read(source: Repository, layer: Descriptor) -> list[Evidence]:
    try:
        content = b"".join([chunk for _, chunk in source.blob(layer.digest, 0, layer.size)])
        if digests.of(content) != layer.digest:
            return []
        return formats.read(layer.media_type, content, dict(layer.annotations))
    except (errors.Corrupt, errors.NotFound, errors.Unsupported):
        return []


def attach(
    target: RepositoryDestination, source: Source, subject: Document, payload: bytes, signature: bytes, *, tag: bool
) -> str:
    """Put a signature beside its image: under cosign's tag, added to those that are there, or as a referrer. Returns
    the digest of its manifest."""
    from atoll.images.source import Document
    from atoll.spec.image import OCI_CONFIG, OCI_MANIFEST, Descriptor

    layer = {
        "mediaType": formats.SIMPLE_SIGNING,
        "digest": digests.of(payload),
        "size": len(payload),
        "annotations": formats.cosign_annotations(signature),
    }
    at, layers = None, [layer]
    extra: dict[str, object] = {}
    if tag:
        at = tag_of(subject.digest, SIGNATURES)
        layers = [*_layers_at(source, at), layer]
        config = jsontext.dumps(_config_of([str(one["digest"]) for one in layers])).encode()
        config_type = OCI_CONFIG
    else:
        config, config_type = _EMPTY, _EMPTY_TYPE
        extra = {
            "artifactType": formats.COSIGN_ARTIFACT,
            "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.body)},
        }
    for kind, content in ((formats.SIMPLE_SIGNING, payload), (config_type, config)):
        blob = Descriptor(media_type=kind, digest=digests.of(content), size=len(content))
        if not target.has(blob.digest, blob.size):
            target.put(blob, _reader(content), lambda _: None)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": config_type, "digest": digests.of(config), "size": len(config)},
        "layers": layers,
        **extra,
    }
    body = jsontext.dumps(manifest).encode()
    target.put_document(Document(body=body, media_type=OCI_MANIFEST, digest=digests.of(body)), at)
    return digests.of(body)


def _reader(content: bytes) -> Read:
    return lambda offset: iter([content[offset:]])


def _layers_at(source: Source, at: str) -> list[dict[str, object]]:
    """The signatures that are there already: one more does not take them away."""
    try:
        document = jsontext.loads(source.document(at).body)
        return list(document["layers"])
    except errors.NotFound:
        return []


def _config_of(layers: list[str]) -> dict[str, object]:
    """The configuration that cosign gives a signature's manifest."""
    return {
        "architecture": "",
        "os": "",
        "created": "0001-01-01T00:00:00Z",
        "rootfs": {"type": "layers", "diff_ids": layers},
        "config": {},
    }
