"""docker-archives: what `docker save` writes and `docker load` reads.

Holds: `ArchiveSource`, `ArchiveDestination`. `manifest.json` lists the images: a configuration, layers, names. It has
no manifests, so the source makes them, the same ones every time. What is written here is, as Docker's since 25, an
OCI layout at the same time; layers go uncompressed, which every reader takes.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.images import layout, making, shelf
from atoll.images.source import Document
from atoll.spec import digest as digests
from atoll.spec import image as documents
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from atoll.images.source import Read
    from atoll.spec.image import Descriptor

_MAX_IMAGES = 1000
_TYPES = {b"\x1f\x8b": making.PLAIN_LAYER + ".gzip", b"\x28\xb5": making.PLAIN_LAYER + ".zstd"}


class _Image:
    """One entry of manifest.json."""

    def __init__(self, entry: Any, where: str) -> None:
        if not isinstance(entry, dict):
            raise errors.Corrupt(f"{where}: manifest.json: expected objects")
        config, layers, tags = entry.get("Config"), entry.get("Layers") or [], entry.get("RepoTags") or []
        if not isinstance(config, str) or not _texts(layers) or not _texts(tags):
            raise errors.Corrupt(f"{where}: manifest.json: expected Config, Layers and RepoTags")
        if len(layers) > documents.MAX_LAYERS:
            raise errors.Corrupt(f"{where}: {len(layers)} layers, more than {documents.MAX_LAYERS}")
        self.config: str = config
        self.layers: list[str] = layers
        self.names = tuple([_familiar(one, where) for one in tags])
        self.document: Document | None = None


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _familiar(name: str, where: str) -> str:
    try:
        return references.parse(name).familiar
    except errors.InvalidArgument as error:
        raise errors.Corrupt(f"{where}: {error.message}") from None


class ArchiveSource:
    """A `Source` over a docker-archive; `at` is a name in it, `@N` the N-th image, "" the only one."""

    def __init__(self, path: str | int, opened: shelf.Shelf | None = None) -> None:
        self.where = f"the archive {path}"
        self._shelf = opened or shelf.open_shelf(path)
        self._places: dict[str, str] = {}
        """Blob digest → file in the archive."""
        try:
            self._images = self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> list[_Image]:
        try:
            listed = jsontext.loads(shelf.read(self._shelf, "manifest.json", documents.MAX_MANIFEST_BYTES))
        except errors.NotFound:
            raise errors.Corrupt(f"{self.where} has no manifest.json, so it is no docker-archive") from None
        except (ValueError, RecursionError) as error:
            raise errors.Corrupt(f"{self.where}: manifest.json: {error}") from None
        if not isinstance(listed, list) or len(listed) > _MAX_IMAGES:
            raise errors.Corrupt(f"{self.where}: manifest.json: expected a list of images")
        return [_Image(entry, self.where) for entry in listed]

    def names(self) -> tuple[str, ...]:
        """All names in it."""
        return tuple([name for one in self._images for name in one.names])

    def every(self) -> list[tuple[str, tuple[str, ...]]]:
        """All images: what to ask for, and their names."""
        return [(f"@{index}", one.names) for index, one in enumerate(self._images)]

    def digest(self, at: str) -> str | None:
        """Not known before the manifest is made."""
        return None

    def document(self, at: str) -> Document:
        """The manifest that is made of an image's configuration and layers."""
        if digests.valid(at):
            for one in self._images:
                if self._made(one).digest == at:
                    return self._made(one)
            raise errors.NotFound(f"{self.where} has no {at}")
        return self._made(self._find(at))

    def _find(self, at: str) -> _Image:
        found = self._images
        if at.startswith("@") and at[1:].isdigit():
            found = self._images[int(at[1:]) :][:1]
        elif at:
            found = [one for one in self._images if at in one.names]
        if len(found) == 1:
            return found[0]
        known = ", ".join(self.names()) or f"{len(self._images)} without names: @0, @1, …"
        if not found:
            raise errors.NotFound(f"{self.where} has no image {at!r}", hint=f"it has {known}")
        raise errors.NotFound(f"{self.where} has several images", hint=f"choose one of {known}")

    def _made(self, image: _Image) -> Document:
        if image.document is None:
            body = shelf.read(self._shelf, image.config, documents.MAX_CONFIG_BYTES)
            config = documents.parse_config(body, f"{self.where}: {image.config}")
            if len(config.diff_ids) != len(image.layers):
                raise errors.Corrupt(
                    f"{self.where}: {len(image.layers)} layers, the configuration has {len(config.diff_ids)}"
                )
            self._places[digests.of(body)] = image.config
            layers = [self._layer(name, diff) for name, diff in zip(image.layers, config.diff_ids, strict=True)]
            made = making.manifest(body, layers)
            image.document = Document(body=made, media_type=documents.DOCKER_MANIFEST, digest=digests.of(made))
        return image.document

    def _layer(self, name: str, diff_id: str) -> Descriptor:
        """A layer's descriptor. A plain one has its diffID as digest; a compressed one must be read for it."""
        size = self._shelf.size(name)
        if size is None:
            raise errors.Corrupt(f"{self.where}: the layer {name} is not in it")
        first = next(self._shelf.chunks(name), b"")
        media_type = _TYPES.get(first[:2], making.PLAIN_LAYER)
        digest = diff_id if media_type == making.PLAIN_LAYER else self._hash(name)
        self._places[digest] = name
        return documents.Descriptor(media_type=media_type, digest=digest, size=size)

    def _hash(self, name: str) -> str:
        import hashlib

        seen = hashlib.sha256()
        for chunk in self._shelf.chunks(name):
            seen.update(chunk)
        return "sha256:" + seen.hexdigest()

    def blob(self, digest: str, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
        """A configuration or layer."""
        name = self._places.get(digest, "")
        return shelf.blob(self._shelf, self.where, name, digest, offset, size)

    def stop(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Give up the file."""
        self._shelf.close()


class ArchiveDestination:
    """A `Destination` that writes a docker-archive, of one image or several; `path` may be `-` or a descriptor."""

    def __init__(self, path: str | int) -> None:
        self.where = f"docker-archive:{path}"
        self._file = layout.ArchiveFile(path)
        self._plain: dict[str, tuple[str, int]] = {}
        """Blob digest → digest and size of what was written for it."""
        self.diff_ids: dict[str, str] = {}
        """Blob digest → the digest of its plain bytes, where that was checked before: those are not hashed again."""
        self._images: dict[str, dict[str, Any]] = {}
        self._entries: list[dict[str, Any]] = []

    def has(self, digest: str, size: int) -> bool:
        """Whether it was put before."""
        return digest in self._plain

    def put(self, blob: Descriptor, read: Read, progress: Callable[[int], None]) -> bool:
        """A layer, unpacked from its compression; a configuration as it is."""
        packed = blob.media_type not in (documents.OCI_CONFIG, documents.DOCKER_CONFIG) and (
            blob.compression != "none"
        )
        if not packed:
            self._file.copy(layout.blob_name(blob.digest), blob, read, progress)
            self._plain[blob.digest] = (blob.digest, blob.size)
            return True
        known = self.diff_ids.get(blob.digest)
        if self._file.rewritable:
            begun = self._file.begin_unnamed()
            digest = _unpack(blob, read, progress, self._file.append, known)
            self._plain[blob.digest] = (digest, self._file.end_unnamed(begun, layout.blob_name(digest)))
            return True
        spool = shelf.unnamed()
        try:
            digest = _unpack(blob, read, progress, lambda data: files.write_all(spool, data), known)
            self._file.copy_file(layout.blob_name(digest), spool)
            self._plain[blob.digest] = (digest, os.fstat(spool).st_size)
        finally:
            os.close(spool)
        return True

    def put_document(self, document: Document, at: str | None) -> None:
        """An image; `at` is its name, None or "" for one without; the same image again adds a name."""
        manifest = documents.parse_document(document.body, document.media_type, document.digest)
        if not isinstance(manifest, documents.Manifest):
            raise errors.Unsupported(
                "a docker-archive holds one platform of an image, not an index", hint="choose with --platform"
            )
        plain = [self._plain[one.digest] for one in manifest.layers]
        layers = [
            documents.Descriptor(media_type=documents.OCI_LAYER, digest=digest, size=size) for digest, size in plain
        ]
        entry = self._images.get(manifest.config.digest)
        if entry is None:
            entry = {
                "Config": layout.blob_name(manifest.config.digest),
                "RepoTags": [],
                "Layers": [layout.blob_name(one.digest) for one in layers],
            }
            self._images[manifest.config.digest] = entry
        config = documents.Descriptor(
            media_type=documents.OCI_CONFIG, digest=manifest.config.digest, size=manifest.config.size
        )
        body = _oci_manifest(config, layers)
        self._file.add(layout.blob_name(digests.of(body)), body)
        listed: dict[str, Any] = {
            "mediaType": documents.OCI_MANIFEST,
            "digest": digests.of(body),
            "size": len(body),
        }
        if at:
            reference = references.parse(at)
            entry["RepoTags"].append(reference.familiar)
            listed["annotations"] = {
                "io.containerd.image.name": reference.full,
                layout.REF_NAME: reference.tag or "",
            }
        self._entries.append(listed)

    def finish(self) -> None:
        """The lists of images, then the end."""
        entries = [{**one, "RepoTags": one["RepoTags"] or None} for one in self._images.values()]
        index = {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": self._entries}
        self._file.add("index.json", jsontext.dumps(index).encode())
        self._file.add("manifest.json", jsontext.dumps(entries).encode())
        self._file.add("oci-layout", layout.MARK)
        self._file.finish()

    def close(self) -> None:
        """Unfinished it goes."""
        self._file.close()


def _oci_manifest(config: Descriptor, layers: list[Descriptor]) -> bytes:
    described = [{"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in (config, *layers)]
    document = {
        "schemaVersion": 2,
        "mediaType": documents.OCI_MANIFEST,
        "config": described[0],
        "layers": described[1:],
    }
    return jsontext.dumps(document).encode()


def _unpack(
    blob: Descriptor, read: Read, progress: Callable[[int], None], write: Callable[[bytes], object], known: str | None
) -> str:
    """Write a compressed blob's plain bytes; their digest, which may be `known`. One thread hashes what is
    compressed, one inflates, this one hashes and writes."""
    import hashlib

    from atoll.snapshots.stream import Ahead, Plain

    source = Ahead(layout.verified(blob, read, progress))
    ahead = Ahead(Plain(source.next, hashed=False).chunks())
    seen = hashlib.sha256()
    try:
        while chunk := ahead.next():
            if known is None:
                seen.update(chunk)
            write(chunk)
        while source.next():  # what follows the compressed data belongs to its digest too
            pass
    except BaseException:
        source.abandon()
        ahead.abandon()
        raise
    return known if known is not None else "sha256:" + seen.hexdigest()
