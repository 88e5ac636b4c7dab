"""push: what a name stands for goes to a registry, a layout, an archive or a daemon.

Holds: `push`, which documents and blobs that is, compressing what was never compressed. Does not hold: uploads
(`images/push.py`). An index goes whole when everything it names is here; otherwise this platform's manifest goes
alone, as Docker does it. What came from a registry keeps its bytes and so its digest; layers that came without
compression (from an archive, a build) are compressed on their way to a registry, the same way every time.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.images import making
from atoll.engine.images.resolve import need
from atoll.spec import digest as digests
from atoll.spec import image as documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.store import ImageRow
    from atoll.images.content import ContentStore
    from atoll.images.places import Place
    from atoll.images.source import Destination, Document
    from atoll.images.values import Progress, RegistryOptions
    from atoll.spec.image import Descriptor, Manifest
    from atoll.spec.reference import Reference

    Report = Callable[[Progress], None]

_CHUNK = 256 << 10
_UPLOADS = 3


class Pushed(Value):
    """What the other side has now: the digest under the name, the size of that document, bytes that were moved."""

    place: str
    digest: str
    size: int
    moved: int


class Parcel:
    """All that goes: blobs, then documents, children before parents; the last one gets the name. `fds` hold blobs
    that are not in the store."""

    def __init__(self, blobs: Iterable[Descriptor], documents: Iterable[Document], fds: dict[str, int]) -> None:
        self.blobs = tuple(blobs)
        self.documents = tuple(documents)
        self.fds = fds

    def close(self) -> None:
        """Give up the descriptors."""
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()


def push(
    engine: Engine,
    name: str,
    destination: str | None = None,
    *,
    progress: Report | None = None,
    options: RegistryOptions | None = None,
    platform: str | None = None,
) -> Pushed:
    """Push the image called `name`, to `destination` if that is given (a reference or a place), else to the registry
    in its name. Raises NotFound, InvalidArgument for an id without a destination, Denied, Unavailable, Corrupt."""
    from atoll.engine.images.registries import options as options_of
    from atoll.images import places

    row = need(engine, name)
    place = places.parse(destination or name)
    if destination is None and place.reference is not None and place.reference.digest is not None:
        raise errors.InvalidArgument("cannot push a digest reference", hint="push a tag of the image")
    with making.content_lock(engine):
        parcel = parcel_of(engine, row, whole=platform is None, plain=place.transport != places.REGISTRY)
        try:
            return send(engine, parcel, place, progress=progress, options=options or options_of(engine))
        finally:
            parcel.close()


def send(
    engine: Engine, parcel: Parcel, place: Place, *, progress: Report | None, options: RegistryOptions | None
) -> Pushed:
    """Move a parcel whose content is in the store. The caller keeps the images lock."""
    from atoll.images import places
    from atoll.images.values import Progress

    report: Report = progress or (lambda _: None)
    target = _destination(engine, place, parcel, options)
    try:
        moved = _put_all(engine.content(), target, parcel, report, uploads=_uploads(place))
        for document in parcel.documents[:-1]:
            target.put_document(document, None)
        last = parcel.documents[-1]
        named = place.reference.at if place.transport == places.REGISTRY and place.reference else place.at
        target.put_document(last, named)
        target.finish()
    finally:
        target.close()
    if place.reference is not None and place.transport == places.REGISTRY:
        _note_places(engine, parcel, place.reference.name)
    report(Progress(what="done"))
    return Pushed(place=str(place), digest=last.digest, size=len(last.body), moved=moved)


def _uploads(place: Place) -> int:
    """How many blobs go at once: several to a registry, whose answers take their time; a file has one end."""
    from atoll.images import places

    return _UPLOADS if place.transport == places.REGISTRY else 1


def _put_all(store: ContentStore, target: Destination, parcel: Parcel, report: Report, *, uploads: int) -> int:
    """All blobs; the bytes that were moved. After a failure the others are ended too."""
    import _thread

    from atoll.base import threads

    lock = _thread.allocate_lock()

    def tell(progress: Progress) -> None:
        with lock:
            report(progress)

    def put(blob: Descriptor) -> int:
        read = of_file(parcel.fds[blob.digest]) if blob.digest in parcel.fds else reader(store, blob.digest)
        return _put(target, blob, read, tell)

    if uploads == 1 or len(parcel.blobs) == 1:
        return sum([put(blob) for blob in parcel.blobs])
    stop = getattr(target, "stop", lambda: None)
    return sum(threads.each(parcel.blobs, put, at_once=uploads, stop=stop))


def _note_places(engine: Engine, parcel: Parcel, repository: str) -> None:
    """The repository has these blobs now: the next push to its registry may mount them. Blobs of no image any more
    are forgotten at the same time."""
    rows = [(blob.digest, repository) for blob in parcel.blobs]

    def work(connection: Any) -> None:
        connection.execute("DELETE FROM blob_places WHERE digest NOT IN (SELECT digest FROM blobs)")
        connection.executemany("INSERT OR IGNORE INTO blob_places VALUES (?, ?)", rows)

    engine.store.write(work)


def _destination(engine: Engine, place: Place, parcel: Parcel, options: RegistryOptions | None) -> Destination:
    from atoll.images import places

    if place.transport != places.REGISTRY or place.reference is None:
        return places.open_destination(place, options)
    from atoll.images.push import RepositoryDestination

    # Asked for now: uploads run in threads, the store's connection belongs to this one.
    known = {blob.digest: _places_of(engine, blob.digest, place.reference) for blob in parcel.blobs}
    return RepositoryDestination(place.reference, options, mounts=lambda digest: known.get(digest, []))


def _places_of(engine: Engine, digest: str, reference: Reference) -> list[str]:
    """Repositories of the same registry that were known to have a blob."""
    found = engine.store.read(
        "SELECT repository FROM blob_places WHERE digest = ?"
        " UNION SELECT t.repository FROM blobs b JOIN tags t ON t.image = b.image WHERE b.digest = ?",
        digest,
        digest,
    )
    known = [row[0].partition("/") for row in found]
    return [rest for host, _, rest in known if host == reference.registry and rest != reference.repository][:3]


def _put(target: Destination, blob: Descriptor, read: Callable[[int], Iterator[bytes]], report: Report) -> int:
    """One blob, if it is not there; the bytes that were moved."""
    from atoll.images.values import Progress

    if target.has(blob.digest, blob.size):
        report(Progress(what="exists", digest=blob.digest, current=blob.size, total=blob.size))
        return 0

    def progress(current: int) -> None:
        report(Progress(what="upload", digest=blob.digest, current=current, total=blob.size))

    if not target.put(blob, read, progress):
        origin = getattr(target, "mounted", {}).get(blob.digest, "")
        report(Progress(what="mounted", digest=blob.digest, current=blob.size, total=blob.size, origin=origin))
        return 0
    report(Progress(what="pushed", digest=blob.digest, current=blob.size, total=blob.size))
    return blob.size


def reader(store: ContentStore, digest: str) -> Callable[[int], Iterator[bytes]]:
    """The bytes of a stored blob from an offset on."""

    def read(offset: int) -> Iterator[bytes]:
        fd = store.open(digest)
        try:
            yield from of_file(fd)(offset)
        finally:
            os.close(fd)

    return read


def of_file(fd: int) -> Callable[[int], Iterator[bytes]]:
    """The bytes of an open file from an offset on."""

    def read(offset: int) -> Iterator[bytes]:
        while chunk := os.pread(fd, _CHUNK, offset):
            yield chunk
            offset += len(chunk)

    return read


# --- what goes ------------------------------------------------------------------------------------------------------


def parcel_of(engine: Engine, row: ImageRow, *, whole: bool, plain: bool) -> Parcel:
    """What goes for an image; `whole`: with its index, if all that names is here; `plain`: layers may go without
    compression. Raises FailedPrecondition when something is not kept any more."""
    from atoll.engine.images.compress import compressed

    store = engine.content()
    target, body = _load(store, row.target)
    if whole and isinstance(target, documents.Index):
        found = _everything(store, body, target)
        if found is not None:
            return found
    manifest, body = _load(store, row.manifest)
    if not isinstance(manifest, documents.Manifest):
        raise errors.Corrupt(f"the manifest {row.manifest} is none", hint="pull the image again")
    missing = [one.digest for one in (manifest.config, *manifest.layers) if not store.has(one.digest, one.size)]
    if missing:
        raise errors.FailedPrecondition(
            f"{missing[0]} is not in the content store any more", hint="pull the image again, then push it"
        )
    fds: dict[str, int] = {}
    if not plain and row.id != row.manifest:  # an artifact's blobs are nobody's to compress
        manifest, body = compressed(store, manifest, body, fds)
    return Parcel(_blobs(manifest), [_document(body, manifest.media_type)], fds)


def _load(store: ContentStore, digest: str) -> tuple[Manifest | documents.Index, bytes]:
    body = store.read(digest, limit=documents.MAX_MANIFEST_BYTES)
    return documents.parse_document(body, None, digest), body


def _everything(store: ContentStore, body: bytes, index: documents.Index) -> Parcel | None:
    """An index with all that it names; None if something of it is not here."""
    blobs: dict[str, Descriptor] = {}
    bodies: list[Document] = []
    for entry in index.manifests:
        if not store.has(entry.digest, entry.size):
            return None
        child, child_body = _load(store, entry.digest)
        if not isinstance(child, documents.Manifest):
            return None
        for one in _blobs(child):
            if not store.has(one.digest, one.size):
                return None
            blobs[one.digest] = one
        bodies.append(_document(child_body, child.media_type))
    return Parcel(blobs.values(), [*bodies, _document(body, index.media_type)], {})


def _blobs(manifest: Manifest) -> tuple[Descriptor, ...]:
    """Layers, then the configuration; a layer that is kept elsewhere (`urls`) for legal reasons is not sent."""
    ours = [
        one for one in manifest.layers if not ("nondistributable" in one.media_type or "foreign" in one.media_type)
    ]
    return tuple({one.digest: one for one in (*ours, manifest.config)}.values())


def _document(body: bytes, media_type: str) -> Document:
    from atoll.images.source import Document

    return Document(body=body, media_type=media_type, digest=digests.of(body))
