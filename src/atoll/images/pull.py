"""Pull: from a reference to blobs in the store and layers unpacked, verified, in parallel.

Holds: `pull`. Does not hold: HTTP (`registry.py`), files of blobs (`content.py`), unpacking (`snapshots`), names.
Start reading at `pull`; `transfer.py` is its engine room.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.images.values import Progress, PulledImage, PulledLayer, RegistryOptions
from atoll.spec import digest as digests
from atoll.spec import image as documents
from atoll.spec import platform as platforms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.images.content import ContentStore
    from atoll.images.registry import Registry
    from atoll.snapshots.store import Snapshots
    from atoll.spec.image import Descriptor, ImageConfig, Index, Manifest
    from atoll.spec.platform import Platform
    from atoll.spec.reference import Reference

    Report = Callable[[Progress], None]


def pull(
    reference: Reference,
    *,
    store: ContentStore,
    snapshots: Snapshots,
    platform: Platform | None = None,
    options: RegistryOptions | None = None,
    progress: Report | None = None,
) -> PulledImage:
    """Pull an image: every blob in `store`, every layer in `snapshots`, all digests checked before anything is
    visible. What is there already is not moved again. Interrupted, it keeps the bytes that came.

    `platform` None is this machine. `progress` is called from several threads, one call at a time; it must be quick.
    Uses threads and a process; both are gone when it returns or raises, KeyboardInterrupt included.
    Raises NotFound, Denied, Unavailable, Corrupt, Unsupported, Exhausted, Cancelled.
    """
    from atoll.images.registry import Registry
    from atoll.images.transfer import Transfer

    report = progress or _silent
    report(Progress(what="resolve"))
    registry = Registry(reference.registry, options)
    snapshots.sweep()
    resolved = _Resolver(reference, registry, store, platform or platforms.host())
    resolved.run(explicit=platform is not None)
    layers = _layers(resolved.manifest, resolved.config, reference)
    transfer = Transfer(registry, reference.repository, store, snapshots, report)
    transfer.run(layers)
    # Children before parents: whoever finds a document in the store finds all that it names.
    for body in (resolved.config_body, resolved.manifest_body, resolved.target_body):
        store.put(body)
    sizes = [snapshots.layer_usage(layer.chain_id).bytes for layer in layers]
    report(Progress(what="done"))
    return PulledImage(
        reference=reference.full,
        target_digest=digests.of(resolved.target_body),
        manifest_digest=digests.of(resolved.manifest_body),
        config_digest=resolved.manifest.config.digest,
        config=resolved.config,
        layers=tuple([layer.replace(unpacked_size=size) for layer, size in zip(layers, sizes, strict=True)]),
        size=sum(sizes),
        fetched=transfer.fetched + resolved.fetched,
    )


def _silent(_: Progress) -> None:
    return


class _Resolver:
    """From the reference to manifest and configuration, out of the store where it has them."""

    manifest: Manifest
    config: ImageConfig
    target_body: bytes
    manifest_body: bytes
    config_body: bytes

    def __init__(self, reference: Reference, registry: Registry, store: ContentStore, platform: Platform) -> None:
        self.reference = reference
        self.registry = registry
        self.store = store
        self.platform = platform
        self.fetched = 0

    def run(self, *, explicit: bool) -> None:
        what = self.reference.familiar
        self.target_body, media_type = self._target()
        document = documents.parse_document(self.target_body, media_type, what)
        self.manifest_body = self.target_body
        if isinstance(document, documents.Index):
            document = self._choose(document)
        self.manifest = document
        self.config_body = self._config(document.config)
        self.config = documents.parse_config(self.config_body, f"the configuration of {what}")
        have = self.config.platform
        if explicit and platforms.rank(self.platform, have) is None:
            raise errors.NotFound(f"image {what} is for {have}, not for {self.platform}")

    def _target(self) -> tuple[bytes, str | None]:
        """What the reference points at. A tag is asked for each time, but only its digest when that is known."""
        reference = self.reference
        known = reference.digest or self.registry.manifest_digest(reference.repository, reference.at)
        if known is not None and self.store.has(known):
            return self.store.read(known, limit=documents.MAX_MANIFEST_BYTES), None
        fetched = self.registry.manifest(reference.repository, reference.at)
        self.fetched += len(fetched.body)
        return fetched.body, fetched.media_type

    def _choose(self, index: Index) -> Manifest:
        entry = index.select(self.platform)
        what = f"{self.reference.familiar_name}@{entry.digest}"
        if self.store.has(entry.digest, entry.size):
            self.manifest_body = self.store.read(entry.digest, limit=documents.MAX_MANIFEST_BYTES)
            media_type = entry.media_type
        else:
            fetched = self.registry.manifest(self.reference.repository, entry.digest)
            self.fetched += len(fetched.body)
            self.manifest_body, media_type = fetched.body, fetched.media_type
        if len(self.manifest_body) != entry.size:
            raise errors.Corrupt(f"{what}: {len(self.manifest_body)} bytes, the index announces {entry.size}")
        document = documents.parse_document(self.manifest_body, media_type, what)
        if not isinstance(document, documents.Manifest) or document.media_type != entry.media_type:
            raise errors.Corrupt(f"{what}: the index announces {entry.media_type}, it is {document.media_type}")
        return document

    def _config(self, entry: Descriptor) -> bytes:
        if entry.media_type not in (documents.OCI_CONFIG, documents.DOCKER_CONFIG):
            raise errors.Unsupported(
                f"{self.reference.familiar} is an artifact of type {entry.media_type}, not a container image"
            )
        if entry.size > documents.MAX_CONFIG_BYTES:
            raise errors.Corrupt(f"the configuration {entry.digest} announces {entry.size} bytes")
        if self.store.has(entry.digest, entry.size):
            return self.store.read(entry.digest, limit=documents.MAX_CONFIG_BYTES)
        parts = [chunk for _, chunk in self.registry.blob(self.reference.repository, entry.digest, 0, entry.size)]
        body = b"".join(parts)
        self.fetched += len(body)
        if len(body) != entry.size or digests.of(body) != entry.digest:
            raise errors.Corrupt(
                f"the configuration of {self.reference.familiar} has digest {digests.of(body)}, not {entry.digest}",
                hint="the registry or something on the way alters content; nothing was kept",
            )
        return body


def _layers(manifest: Manifest, config: ImageConfig, reference: Reference) -> list[PulledLayer]:
    """Blobs, contents and places together, or the reason why they do not fit."""
    if len(manifest.layers) != len(config.diff_ids):
        raise errors.Corrupt(
            f"{reference.familiar}: the manifest has {len(manifest.layers)} layers,"
            f" the configuration {len(config.diff_ids)}"
        )
    layers = []
    chains = digests.chain_ids(config.diff_ids)
    for entry, diff_id, chain_id in zip(manifest.layers, config.diff_ids, chains, strict=True):
        _ = entry.compression  # refuses what is not a layer before anything is fetched
        layers.append(
            PulledLayer(
                digest=entry.digest,
                media_type=entry.media_type,
                size=entry.size,
                diff_id=diff_id,
                chain_id=chain_id,
            )
        )
    return layers
