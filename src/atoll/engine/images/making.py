"""An image made here: its documents go to the content store, its layers are unpacked, its row is written.

Holds: `make`, `record`, `name_of`, `layers_of`, `config_of`, `content_lock`, `keep_within`. Does not hold: the
documents themselves (`images/making.py`), the bytes of a layer (`snapshots/diff.py`). `commit` in a few lines:

    with making.content_lock(engine), Ingest(engine.content()) as ingest:
        facts = diff.layer_of(engine.snapshots, container_id, engine.store.chain_ids(row.id), ingest.fd)
        blob = ingest.commit_as(facts.diff_id, facts.size)
        config = documents.with_layer(making.config_of(engine, row), facts.diff_id, created=…)
        image_id = making.make(engine, config, [*making.layers_of(engine, row), documents.layer(blob)], "me/app:1")
"""

from __future__ import annotations

import time

from atoll.base import errors, files, jsontext
from atoll.engine.images import garbage
from atoll.engine.store import ImageRow, LayerRow, TagRow
from atoll.spec import digest as digests
from atoll.spec import image as documents
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.images.values import Progress, PulledImage
    from atoll.spec.image import Descriptor
    from atoll.spec.reference import Reference


class ContentLock:
    """Held, as a block, while content is made that no row names yet: from before its first byte to after the row. A
    block that fails for want of space leaves nothing that keeps the disk full."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = files.FileLock(garbage.lock_path(engine))

    def __enter__(self) -> None:
        self._lock.acquire(shared=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        if isinstance(error, errors.Exhausted):
            try:
                garbage.collect(self._engine)
            except (OSError, errors.AtollError) as second:
                error.add_note(f"what came of it cannot be removed: {second}")


def content_lock(engine: Engine) -> ContentLock:
    """The lock for a `with` block."""
    return ContentLock(engine)


def keep_within(engine: Engine, made: Sequence[str]) -> None:
    """After the lock is given back: let images go that nobody used for long, as the budget of the settings has it
    (`budget.py`), but none of these."""
    if engine.config.storage_keep:
        from atoll.engine.images import budget

        budget.keep_within(engine, made)


def config_of(engine: Engine, row: ImageRow) -> dict[str, Any]:
    """The configuration of an image as JSON."""
    found: dict[str, Any] = jsontext.loads(row.config)
    return found


def layers_of(engine: Engine, row: ImageRow) -> tuple[Descriptor, ...]:
    """The layers of an image, bottom first. Raises FailedPrecondition when their blobs are not kept any more."""
    store = engine.content()
    body = store.read(row.manifest, limit=documents.MAX_MANIFEST_BYTES)
    manifest = documents.parse_document(body, None, row.manifest)
    if not isinstance(manifest, documents.Manifest):
        raise errors.Corrupt(f"the manifest {row.manifest} is none", hint="pull the image again")
    missing = [one.digest for one in manifest.layers if not store.has(one.digest, one.size)]
    if missing:
        raise errors.FailedPrecondition(f"{missing[0]} is not in the content store", hint="pull the image again")
    return manifest.layers


def name_of(name: str | None) -> Reference | None:
    """The name that an image is to be made under (None: none): to be asked before anything is made. Raises
    InvalidArgument."""
    if name is None:
        return None
    reference = references.parse(name)
    if reference.digest is not None:
        raise errors.InvalidArgument("refusing to create a tag with a digest reference")
    return reference


def make(
    engine: Engine,
    config: dict[str, Any],
    layers: Sequence[Descriptor],
    name: str | None,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> str:
    """Record the image of a configuration (as JSON) and layers whose blobs are stored; unpack what is not unpacked.
    Under the name `name` (None: without one). Returns its id. The caller holds `content_lock`.

    Raises InvalidArgument for a name that is none, Corrupt when layers and configuration do not fit.
    """
    from atoll.images import making

    reference = name_of(name)
    store = engine.content()
    body = making.encode(config)
    store.put(body)
    manifest = store.put(making.manifest(body, layers))
    return add_stored(engine, manifest, [reference] if reference else [], progress=progress)


def add_stored(
    engine: Engine,
    target: str,
    names: Sequence[Reference],
    *,
    progress: Callable[[Progress], None] | None = None,
    platform: str | None = None,
) -> str:
    """Unpack and record the image whose document `target` (a digest) and blobs are all stored. Returns its id."""
    from atoll.images import pull as mechanism
    from atoll.images.local import StoreSource
    from atoll.spec import platform as platforms

    store = engine.content()
    image = mechanism.pull(
        names[0] if names else references.parse("localhost/unnamed"),
        store=store,
        snapshots=engine.snapshots,
        platform=platforms.parse(platform) if platform else None,
        progress=progress,
        source=StoreSource(store),
        at=target,
    )
    record(engine, image, names)
    return image.config_digest


def record(engine: Engine, image: PulledImage, names: Sequence[Reference]) -> None:
    """The image's row and one for each name (none is fine)."""
    now = time.time_ns()
    row = ImageRow(
        id=image.config_digest,
        target=image.target_digest,
        manifest=image.manifest_digest,
        config=image.artifact or engine.content().read(image.config_digest).decode("utf-8"),
        size=image.size,
        created_at=now,
    )
    layers = [
        LayerRow(
            blob=one.digest,
            blob_size=one.size,
            diff_id=one.diff_id,
            chain_id=one.chain_id,
            size=one.unpacked_size,
        )
        for one in image.layers
    ]
    tags = [tag_row(name, image.config_digest, image.target_digest, now) for name in names]
    engine.store.add_image(row, layers, list(image.blobs), tags[0] if tags else None)
    for tag in tags[1:]:
        put_tag(engine, tag)


def tag_row(name: Reference, image: str, target: str, now: int) -> TagRow:
    """What a name of an image is in the store."""
    return TagRow(
        reference=name.full,
        image=image,
        repository=name.name,
        tag=name.tag if name.digest is None else None,
        digest=digests.check(target),
        updated_at=now,
    )


def put_tag(engine: Engine, tag: TagRow) -> None:
    """Let a name point at an image, taking it from the one that had it. Raises NotFound when the image has gone."""

    def work(connection: Any) -> None:
        if connection.execute("SELECT 1 FROM images WHERE id = ?", (tag.image,)).fetchone() is None:
            raise errors.NotFound(f"image {tag.image} was removed meanwhile")
        connection.execute(
            "INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?, ?, ?)",
            (tag.reference, tag.image, tag.repository, tag.tag, tag.digest, tag.updated_at),
        )

    engine.store.write(work)
