"""save: images with their names into an archive that `load` reads, here and elsewhere."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.events import note as events
from atoll.engine.images import making
from atoll.engine.images.push import parcel_of, reader
from atoll.engine.images.resolve import artifact_type, find, need
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ImageRow
    from atoll.images.source import Destination

FORMATS = ("docker-archive", "oci-archive", "oci-dir")


def save(engine: Engine, names: list[str], out: str | int, *, format: str = FORMATS[0]) -> None:
    """Write the images called `names` to `out`: a path, or the descriptor of a pipe or file. A repository's name
    without a tag means all its tags, as in Docker; an image that was given by its id has no name in the archive.

    Raises NotFound, FailedPrecondition when layers are not kept any more, Exhausted.
    """
    wanted = [one for name in names for one in _named(engine, name)]
    with making.content_lock(engine):
        target = _destination(out, format)
        try:
            for row, name in wanted:
                _put(engine, target, row, name)
            target.finish()
        finally:
            target.close()


def _named(engine: Engine, name: str) -> list[tuple[ImageRow, str | None]]:
    """The images that a word means, each with the name it is to have."""
    try:
        reference = references.parse(name)
    except errors.InvalidArgument:
        return [(need(engine, name), None)]
    exact = engine.store.image_by_reference(reference.full)
    bare = ":" not in name.rpartition("/")[2] and reference.digest is None
    if bare:
        tags = [one for one in engine.store.tags() if one.repository == reference.name and one.tag is not None]
        found = [
            (row, references.parse(one.reference).familiar) for one in tags if (row := engine.store.image(one.image))
        ]
        if found:
            return [(row, familiar) for row, familiar in found]
    if exact is not None and reference.digest is None:
        return [(exact, reference.familiar)]
    row = find(engine, name)
    return [(row if row is not None else need(engine, name), None)]


def _destination(out: str | int, format: str) -> Destination:
    from atoll.images.archive import ArchiveDestination
    from atoll.images.layout import LayoutDestination

    if format == "docker-archive":
        return ArchiveDestination(out)
    if format not in FORMATS:
        raise errors.InvalidArgument(f"unknown format {format!r}", hint="known are " + ", ".join(FORMATS))
    return LayoutDestination(f"/proc/self/fd/{out}" if isinstance(out, int) else out, tar=format == "oci-archive")


def _put(engine: Engine, target: Destination, row: ImageRow, name: str | None) -> None:
    """One image. A layout holds the index too, if all that it names is here; a docker-archive has no place for it."""
    from atoll.images.archive import ArchiveDestination

    store = engine.content()
    kind = artifact_type(row)
    whole = not isinstance(target, ArchiveDestination)
    if kind is not None and not whole:
        raise errors.Unsupported(
            f"{name or row.id[7:19]} is an artifact of type {kind}, for which a docker-archive has no place",
            hint="--format oci-archive or oci-dir",
        )
    making.layers_of(engine, row)  # says what is missing before anything is written
    if isinstance(target, ArchiveDestination):  # they were checked when the layers were unpacked
        target.diff_ids.update({one.blob: one.diff_id for one in engine.store.layers(row.id)})
    parcel = parcel_of(engine, row, whole=whole, plain=True)
    for blob in parcel.blobs:
        if not target.has(blob.digest, blob.size):
            target.put(blob, reader(store, blob.digest), lambda _: None)
    events.note(engine, "image", "save", row.id, name=name or row.id)
    for document in parcel.documents[:-1]:
        target.put_document(document, None)
    target.put_document(parcel.documents[-1], name or "")
