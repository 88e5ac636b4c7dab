"""What the content store already holds, as a source of images: `pull` from it unpacks layers without any network.

Holds: `StoreSource`. Used for images that are made here (`commit`, `import`, `load`) and to unpack layers again whose
snapshots are gone.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.images.source import Document
from atoll.spec import digest as digests
from atoll.spec import image as documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.images.content import ContentStore

_CHUNK = 1 << 20


class StoreSource:
    """A `Source` over the content store; `at` is the digest of a document."""

    where = "the content store"

    def __init__(self, store: ContentStore) -> None:
        self._store = store

    def digest(self, at: str) -> str | None:
        """The digest is its own name."""
        return at if digests.valid(at) else None

    def document(self, at: str) -> Document:
        """A stored document."""
        if not digests.valid(at):
            raise errors.NotFound(f"the content store has no {at!r}")
        body = self._store.read(at, limit=documents.MAX_MANIFEST_BYTES)
        return Document(body=body, media_type=documents.parse_document(body, None, at).media_type, digest=at)

    def blob(self, digest: str, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
        """A stored blob. Raises NotFound."""
        fd = self._store.open(digest)
        try:
            while chunk := os.pread(fd, _CHUNK, offset):
                yield offset, chunk
                offset += len(chunk)
        finally:
            os.close(fd)

    def names(self) -> tuple[str, ...]:
        """It has digests, no names."""
        return ()

    def stop(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing is open."""
