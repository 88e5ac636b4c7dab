"""Images as objects, wherever they are: typed manifests, configurations and layers, the same for every source.

Holds: `Image`, `Layer`, `Images` (what `client.images` is). Does not hold: the documents' types (`atoll.spec.image`),
where images come from (the room `images`).

    with client.images.open("docker://debian:12") as there:      # or oci:DIR, docker-archive:FILE, docker-daemon:NAME
        print(there.config.config.env, [layer.size for layer in there.layers])
    here = client.images.get("debian:12")                        # the very same things of one that is here

What a source says is checked against its digest before it is given on.
"""

from __future__ import annotations

import threading

from atoll.base import errors
from atoll.spec import digest as digests
from atoll.spec import image as documents
from atoll.spec import platform as platforms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Any, Self

    from atoll.engine.store import ImageRow
    from atoll.images.source import Document, Source
    from atoll.images.values import Progress
    from atoll.sdk.client import Client
    from atoll.spec.image import Descriptor, ImageConfig, Index, Manifest
    from atoll.spec.platform import Platform


class Layer:
    """A layer, or of an artifact a blob: its `digest` and `size` as it travels, `media_type`, `annotations`;
    `diff_id` is the digest of the tar in it (None: an artifact's)."""

    __slots__ = ("_open", "annotations", "diff_id", "digest", "media_type", "size")

    def __init__(self, entry: Descriptor, diff_id: str | None, opened: Callable[[], Source]) -> None:
        self.digest = entry.digest
        self.size = entry.size
        self.media_type = entry.media_type
        self.annotations = dict(entry.annotations)
        self.diff_id = diff_id
        self._open = opened

    def blob(self) -> Iterator[bytes]:
        """The bytes as they travel, most often compressed. Raises Corrupt at the end if they are not what the digest
        says, NotFound, Unavailable."""
        import hashlib

        seen, size = hashlib.sha256(), 0
        for _, chunk in self._open().blob(self.digest, 0, self.size):
            seen.update(chunk)
            size += len(chunk)
            yield chunk
        if size != self.size or "sha256:" + seen.hexdigest() != self.digest:
            raise errors.Corrupt(f"{self.digest}: its content is damaged")

    def tar(self) -> Iterator[bytes]:
        """The layer's tar, decompressed within the bounds that unpacking has. Raises Corrupt at the end if it is not
        what the image's configuration says, Unsupported for an artifact's blob."""
        from atoll.snapshots.stream import Plain

        if self.diff_id is None:
            raise errors.Unsupported(
                f"{self.digest} is a blob of an artifact, no layer", hint="blob() gives its bytes"
            )
        parts = self.blob()
        plain = Plain(lambda: next(parts, b""))
        yield from plain.chunks()
        for _ in parts:  # what follows the compressed data is under the digest too
            continue
        if plain.digest() != self.diff_id:
            raise errors.Corrupt(f"{self.digest} holds {plain.digest()}, not {self.diff_id}")

    def __repr__(self) -> str:
        return f"<atoll.Layer {self.digest[7:19]} {self.size} bytes>"


class Image:
    """An image, here or elsewhere. `names` are what it is called there; everything else is asked for when it is first
    used. One that was opened elsewhere is closed by `close`, or by its `with` block."""

    def __init__(
        self,
        opener: Callable[[], Source],
        at: str,
        *,
        names: tuple[str, ...] = (),
        platform: Platform | None = None,
        known: ImageRow | None = None,
    ) -> None:
        self.names = names
        self._opener = opener
        self._at = at
        self._platform = platform
        self._known = known
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._documents: tuple[Document, Index | None, Document, Manifest] | None = None
        self._config: ImageConfig | None = None

    # --- what it is ---------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The digest of its configuration, by which it is known here; of an artifact that of its manifest."""
        if self._known is not None:
            return self._known.id
        return self.digest if self.artifact_type is not None else self.manifest.config.digest

    @property
    def digest(self) -> str:
        """The digest of its manifest."""
        return self._resolved()[2].digest

    @property
    def target(self) -> str:
        """The digest of what its name points at: the index, if it has one, else the manifest."""
        return self._resolved()[0].digest

    @property
    def index(self) -> Index | None:
        """The index that it was chosen from by its platform; None if its name points at a manifest."""
        return self._resolved()[1]

    @property
    def manifest(self) -> Manifest:
        """The manifest: media type, descriptors of configuration and layers, annotations."""
        return self._resolved()[3]

    @property
    def artifact_type(self) -> str | None:
        """The type of an artifact; None for an image."""
        from atoll.images.artifacts import kind_of

        return kind_of(self.manifest)

    @property
    def config(self) -> ImageConfig:
        """The configuration: platform, environment, command, history. Raises Unsupported for an artifact."""
        if self._config is None:
            if self.artifact_type is not None:
                raise errors.Unsupported(f"an artifact of type {self.artifact_type} has no image's configuration")
            entry = self.manifest.config
            if entry.size > documents.MAX_CONFIG_BYTES:
                raise errors.Corrupt(f"the configuration {entry.digest} announces {entry.size} bytes")
            body = b"".join(Layer(entry, None, self._opened).blob())
            self._config = documents.parse_config(body, f"the configuration {entry.digest}")
        return self._config

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, bottom first; of an artifact its blobs. Raises Corrupt where the configuration has others."""
        entries = self.manifest.layers
        if self.artifact_type is not None:
            return tuple([Layer(one, None, self._opened) for one in entries])
        diff_ids = self.config.diff_ids
        if len(diff_ids) != len(entries):
            raise errors.Corrupt(f"{len(entries)} layers, {len(diff_ids)} in the configuration")
        return tuple([Layer(one, diff, self._opened) for one, diff in zip(entries, diff_ids, strict=True)])

    @property
    def size(self) -> int:
        """Of an image here its bytes unpacked; of another the bytes of its layers as they travel."""
        return self._known.size if self._known is not None else sum([one.size for one in self.manifest.layers])

    # --- where it is --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give up connections and files. Idempotent."""
        with self._lock:
            if self._source is not None:
                self._source.close()
                self._source = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<atoll.Image {', '.join(self.names) or self._at}>"

    def _opened(self) -> Source:
        with self._lock:
            if self._source is None:
                self._source = self._opener()
            return self._source

    def _resolved(self) -> tuple[Document, Index | None, Document, Manifest]:
        if self._documents is None:
            target = self._opened().document(self._at)
            if digests.valid(self._at) and target.digest != self._at:
                raise errors.Corrupt(f"{self._opened().where}: {target.digest} instead of {self._at}")
            parsed = documents.parse_document(target.body, target.media_type, self._at)
            if isinstance(parsed, documents.Index):
                entry = self._chosen(parsed)
                child = self._opened().document(entry.digest)
                inner = documents.parse_document(child.body, entry.media_type, entry.digest)
                if not isinstance(inner, documents.Manifest) or len(child.body) != entry.size:
                    raise errors.Corrupt(f"{entry.digest} is not the manifest that the index announces")
                self._documents = target, parsed, child, inner
            else:
                self._documents = target, None, target, parsed
        return self._documents

    def _chosen(self, index: Index) -> Descriptor:
        if self._known is not None:
            for entry in index.manifests:
                if entry.digest == self._known.manifest:
                    return entry
        return index.select(self._platform or platforms.host())


class Images:
    """`client.images`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[Image]:
        """All that are here, newest first."""
        found: dict[str, list[str]] = {}
        for view in self._client._engine.images():
            names = found.setdefault(view.id, [])
            if view.repository is not None and view.tag is not None:
                names.append(f"{view.repository}:{view.tag}")
        return [self._here(one, tuple(names)) for one, names in found.items()]

    def get(self, name: str) -> Image:
        """One that is here, by name or id. Raises NotFound."""
        from atoll.engine.images.resolve import find
        from atoll.spec import reference as references

        engine = self._client._engine
        row = find(engine, name)
        if row is None:
            raise errors.NotFound(f"No such image: {name}", hint="pull it first")
        tags = [references.parse(tag.reference).familiar for tag in engine.store.tags(row.id) if tag.tag is not None]
        return self._here(row.id, tuple(tags))

    def open(self, place: str, *, platform: str | None = None) -> Image:
        """One that is elsewhere, without pulling it: a name (`debian`), `docker://NAME`, `oci:DIR[:NAME]`,
        `oci-archive:FILE`, `docker-archive:FILE[:NAME:TAG]`, `docker-daemon:NAME:TAG`. To be closed. Raises
        InvalidArgument; what is wrong with the source is raised when it is first asked."""
        from atoll.engine.images.registries import options
        from atoll.images import places

        engine = self._client._engine
        found = places.parse(place)
        chosen = options(engine)
        at = found.reference.at if found.transport == places.REGISTRY and found.reference is not None else found.at
        return Image(
            lambda: places.open_source(found, chosen),
            at,
            names=(str(found),),
            platform=platforms.parse(platform) if platform else None,
        )

    def details(self, name: str) -> dict[str, Any]:
        """All that is known of it, in the shape of Docker's API."""
        return self._client._engine.inspect_image(name)

    def pull(
        self,
        name: str,
        *,
        platform: str | None = None,
        all_platforms: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Image:
        """Download it, from any place that `open` takes. `progress` is told of each step, from this thread."""
        from atoll.engine.images.pull import pull

        pulled = pull(self._client._engine, name, progress=progress, platform=platform, all_platforms=all_platforms)
        return self.get(pulled.config_digest)

    def push(self, name: str, destination: str | None = None) -> str:
        """Send it to the registry in its name, or to another place; the digest that it has there."""
        from atoll.engine.images.push import push

        return push(self._client._engine, name, destination).digest

    def tag(self, name: str, new: str) -> None:
        """Give it one more name, taking it from the image that had it."""
        from atoll.engine.images.tag import tag

        tag(self._client._engine, name, new)

    def save(self, names: Sequence[str], path: str, *, format: str = "docker-archive") -> None:
        """Write images to a file (`docker-archive`, `oci-archive`) or a directory (`oci-dir`)."""
        from atoll.engine.images.save import save

        save(self._client._engine, [*names], path, format=format)

    def load(self, path: str, *, platform: str | None = None) -> tuple[Image, ...]:
        """All images of a file or directory that `save`, Docker or Podman wrote."""
        from atoll.engine.images.load import load

        return tuple([self.get(one.id) for one in load(self._client._engine, path, platform=platform)])

    def remove(self, name: str, *, force: bool = False) -> None:
        """Take the name away, and with the last one the image."""
        self._client._engine.remove_image(name, force=force)

    def _here(self, image_id: str, names: tuple[str, ...]) -> Image:
        from atoll.images.local import StoreSource

        engine = self._client._engine
        row = engine.store.image(image_id)
        if row is None:
            raise errors.NotFound(f"No such image: {image_id}")
        store = engine.content()  # files: for any thread
        return Image(lambda: StoreSource(store), row.target, names=names, known=row)
