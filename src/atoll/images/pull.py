"""Pull: from a reference to blobs in the store and layers unpacked, verified, in parallel.

Holds: `pull`. Does not hold: HTTP (`registry.py`), files of blobs (`content.py`), unpacking (`snapshots`), names.
Start reading at `pull`; `transfer.py` is its engine room.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.images import artifacts
from atoll.images.source import Document
from atoll.images.values import Progress, PulledImage, PulledLayer, RegistryOptions
from atoll.spec import digest as digests
from atoll.spec import image as documents
from atoll.spec import platform as platforms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.images.content import ContentStore
    from atoll.images.source import Source
    from atoll.snapshots.store import Snapshots
    from atoll.snapshots.worker import Worker
    from atoll.spec.image import Descriptor, ImageConfig, Index, Manifest
    from atoll.spec.platform import Platform
    from atoll.spec.reference import Reference

    Report = Callable[[Progress], None]
    Check = Callable[[Document, Document], None]


def pull(
    reference: Reference,
    *,
    store: ContentStore,
    snapshots: Snapshots,
    platform: Platform | None = None,
    options: RegistryOptions | None = None,
    progress: Report | None = None,
    source: Source | None = None,
    at: str | None = None,
    all_platforms: bool = False,
    fresh: bool = False,
    check: Check | None = None,
) -> PulledImage:
    """Pull an image, or an artifact: every blob in `store`, every layer in `snapshots`, all digests checked before
    anything is visible. What is there already is not moved again. Interrupted, it keeps the bytes that came.

    `platform` None is this machine. `source` None is the registry of `reference`; `at` is what to ask another source
    for. `all_platforms` also fetches the content for the other platforms, to be pushed or saved. `fresh`: nothing is
    known by that name, so that its document is asked for at once, not first whether it is another one. `check(target,
    manifest)` sees the verified documents before anything that they name is asked for, and raises to end the pull.
    `progress` is called from several threads, one call at a time; it must be quick.
    Uses threads and a process; both are gone when it returns or raises, KeyboardInterrupt included.
    Raises NotFound, Denied, Unavailable, Corrupt, Unsupported, Exhausted, Cancelled, and what `check` does.
    """
    from atoll.images.remote import Repository

    report = progress or _silent
    report(Progress(what="resolve"))
    snapshots.sweep()
    opened = source or Repository(reference, options)
    workers: list[Worker] = []
    resolved = _Resolver(reference, opened, store, platform or platforms.host(), reference.at if at is None else at)
    resolved.expect = lambda: workers.append(_worker(snapshots))
    resolved.fresh = fresh
    try:
        resolved.run(explicit=platform is not None, check=check)
        others = resolved.others() if all_platforms else []
        artifact = artifacts.kind_of(resolved.manifest)
        layers = _layers(resolved.manifest, resolved.config, reference) if artifact is None else []
        if artifact is not None:
            others += artifacts.blobs_of(resolved.manifest)
        moved = _move(opened, store, snapshots, layers, others, report, workers)
    finally:
        for worker in workers:
            worker.kill()
        if source is None:
            opened.close()
    # Children before parents: whoever finds a document in the store finds all that it names.
    config = [resolved.config_body] if artifact is None else []
    for body in (*resolved.other_bodies, *config, resolved.manifest_body, resolved.target_body):
        store.put(body)
    sizes = [snapshots.layer_usage(layer.chain_id).bytes for layer in layers]
    report(Progress(what="done"))
    return PulledImage(
        reference=reference.full,
        target_digest=digests.of(resolved.target_body),
        manifest_digest=digests.of(resolved.manifest_body),
        config_digest=resolved.manifest.config.digest if artifact is None else digests.of(resolved.manifest_body),
        config=resolved.config,
        layers=tuple([layer.replace(unpacked_size=size) for layer, size in zip(layers, sizes, strict=True)]),
        size=sum(sizes) if artifact is None else sum([one.size for one in artifacts.blobs_of(resolved.manifest)]),
        artifact=None if artifact is None else artifacts.config_text(resolved.manifest),
        fetched=moved + resolved.fetched,
        others=(*[one.digest for one in others], *[digests.of(body) for body in resolved.other_bodies]),
    )


def _silent(_: Progress) -> None:
    return


def _worker(snapshots: Snapshots) -> Worker:
    """Begun as soon as something is seen to be new: it starts while documents are asked for."""
    from atoll.snapshots.worker import Worker

    return Worker(snapshots.idmap, unpacks=True)


def _move(
    source: Source,
    store: ContentStore,
    snapshots: Snapshots,
    layers: list[PulledLayer],
    others: list[Descriptor],
    report: Report,
    workers: list[Worker],
) -> int:
    """Blobs and layers that are not here; the bytes that came. Nothing is started when nothing is missing. Takes over
    what of `workers` it uses."""
    wanted = [(one.digest, one.size) for one in layers] + [(one.digest, one.size) for one in others]
    missing = snapshots.missing([layer.chain_id for layer in layers])
    if not missing and all(store.has(digest, size) for digest, size in wanted):
        for one in layers:
            report(Progress(what="exists", digest=one.digest, current=one.size, total=one.size))
        return 0
    from atoll.images.remote import Repository
    from atoll.images.transfer import Transfer

    transfer = Transfer(source, store, snapshots, report, workers)
    try:
        transfer.run(layers, others)
    except errors.Corrupt as error:
        alone = source.without_mirrors() if isinstance(source, Repository) else None
        if alone is None:
            raise
        try:
            again = Transfer(alone, store, snapshots, report)
            again.run(layers, others)
        except errors.AtollError as second:
            second.add_note(f"a mirror's content was wrong: {error.message}")
            raise
        finally:
            alone.close()
        return transfer.fetched + again.fetched
    return transfer.fetched


class _Resolver:
    """From the reference to manifest and configuration, out of the store where it has them."""

    manifest: Manifest
    config: ImageConfig
    target_body: bytes
    manifest_body: bytes
    config_body: bytes

    def __init__(
        self, reference: Reference, source: Source, store: ContentStore, platform: Platform, at: str
    ) -> None:
        self.reference = reference
        self.source = source
        self.store = store
        self.platform = platform
        self.at = at
        self.expect: Callable[[], None] = lambda: None
        """Called once, before something new is fetched."""
        self.fresh = False
        self.fetched = 0
        self.other_bodies: list[bytes] = []
        self._index: Index | None = None

    def run(self, *, explicit: bool, check: Check | None) -> None:
        what = self.reference.familiar
        self.target_body, media_type = self._target()
        document = documents.parse_document(self.target_body, media_type, what)
        self.manifest_body = self.target_body
        if isinstance(document, documents.Index):
            self._index = document
            document = self._choose(document)
        self.manifest = document
        if check is not None:
            check(_document(self.target_body, self._index or document), _document(self.manifest_body, document))
        if artifacts.kind_of(document) is not None:  # for no platform and without a configuration that says anything
            self.config = artifacts.config_of(document)
            return
        self.config_body = self._config(document.config)
        self.config = documents.parse_config(self.config_body, f"the configuration of {what}")
        have = self.config.platform
        if explicit and platforms.rank(self.platform, have) is None:
            raise errors.NotFound(f"image {what} is for {have}, not for {self.platform}")

    def others(self) -> list[Descriptor]:
        """The blobs of all other manifests that the target names, whose bodies go to `other_bodies`."""
        blobs: list[Descriptor] = []
        for entry in self._index.manifests if self._index else ():
            body, media_type = self._child(entry)
            if body == self.manifest_body:
                continue
            what = f"{self.reference.familiar_name}@{entry.digest}"
            document = documents.parse_document(body, media_type, what)
            if not isinstance(document, documents.Manifest):
                raise errors.Unsupported(f"{what}: an index within an index")
            self.other_bodies.append(body)
            blobs += [document.config, *document.layers]
        return list({one.digest: one for one in blobs}.values())

    def _target(self) -> tuple[bytes, str | None]:
        """What the reference points at. A tag is asked for each time, but only its digest when that is known."""
        known = self.reference.digest or (None if self.fresh else self.source.digest(self.at))
        if known is not None and self.store.has(known):
            return self.store.read(known, limit=documents.MAX_MANIFEST_BYTES), None
        likely = known is not None or self.fresh
        if likely:
            self.expect()
        fetched = self.source.document(self.at)
        if not likely and not self.store.has(fetched.digest):
            self.expect()
        if self.reference.digest is not None and fetched.digest != self.reference.digest:
            raise errors.Corrupt(f"{self.source.where}: {fetched.digest} instead of {self.reference.digest}")
        self.fetched += len(fetched.body)
        return fetched.body, fetched.media_type

    def _child(self, entry: Descriptor) -> tuple[bytes, str]:
        """A manifest that an index names, of exactly the size that it announces."""
        if self.store.has(entry.digest, entry.size):
            body, media_type = self.store.read(entry.digest, limit=documents.MAX_MANIFEST_BYTES), entry.media_type
        else:
            fetched = self.source.document(entry.digest)
            self.fetched += len(fetched.body)
            body, media_type = fetched.body, fetched.media_type
        if len(body) != entry.size:
            what = f"{self.reference.familiar_name}@{entry.digest}"
            raise errors.Corrupt(f"{what}: {len(body)} bytes, the index announces {entry.size}")
        return body, media_type

    def _choose(self, index: Index) -> Manifest:
        entry = index.select(self.platform)
        what = f"{self.reference.familiar_name}@{entry.digest}"
        self.manifest_body, media_type = self._child(entry)
        document = documents.parse_document(self.manifest_body, media_type, what)
        if not isinstance(document, documents.Manifest) or document.media_type != entry.media_type:
            raise errors.Corrupt(f"{what}: the index announces {entry.media_type}, it is {document.media_type}")
        return document

    def _config(self, entry: Descriptor) -> bytes:
        if entry.size > documents.MAX_CONFIG_BYTES:
            raise errors.Corrupt(f"the configuration {entry.digest} announces {entry.size} bytes")
        if self.store.has(entry.digest, entry.size):
            return self.store.read(entry.digest, limit=documents.MAX_CONFIG_BYTES)
        parts = [chunk for _, chunk in self.source.blob(entry.digest, 0, entry.size)]
        body = b"".join(parts)
        self.fetched += len(body)
        if len(body) != entry.size or digests.of(body) != entry.digest:
            raise errors.Corrupt(
                f"the configuration of {self.reference.familiar} has digest {digests.of(body)}, not {entry.digest}",
                hint="the registry or something on the way alters content; nothing was kept",
            )
        return body


def _document(body: bytes, parsed: Manifest | Index) -> Document:
    return Document(body=body, media_type=parsed.media_type, digest=digests.of(body))


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
