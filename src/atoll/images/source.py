"""One interface for whatever holds images: a registry's repository, an OCI layout, an archive, a Docker daemon.

Holds: `Source` (images come from it), `Destination` (they go to it), `Document`. Does not hold: any of them
(`remote.py`: a repository; `layout.py`: `oci:DIR`, `oci-archive:FILE`; `archive.py`: `docker-archive:FILE`;
`daemon.py`: `docker-daemon:NAME`), nor how a person names them (`places.py`). `tests/contract/test_source.py` is the
suite for all of them.

An image is a document (manifest or index), its configuration and layers, all by digest. `at` says which one: a
digest, a tag (a layout's `org.opencontainers.image.ref.name`, an archive's name and tag), or "" for the only one.
A source whose form of an image is another (docker-archive) makes the manifest itself, the same one every time.
"""

from __future__ import annotations

from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from atoll.spec.image import Descriptor

    Read = Callable[[int], Iterator[bytes]]
    """Gives a blob's bytes from an offset on; may be called again after a failure."""
else:
    Protocol = object


class Document(Value):
    """A manifest or index as it came: its bytes, what the source calls it, and the digest computed from the bytes."""

    body: bytes
    media_type: str
    digest: str


class Source(Protocol):
    """Where images come from. Safe to use from several threads; what it yields is hostile until its digest was
    checked, which is the caller's part for blobs and the source's for documents."""

    where: str
    """How messages name it: `registry quay.io`, `docker-archive:/tmp/x.tar`."""

    def digest(self, at: str) -> str | None:
        """The digest of the document that `at` names, if that can be told for less than the document itself; None
        otherwise. Raises as `document` does, or returns None in those cases."""

    def document(self, at: str) -> Document:
        """The document that `at` names, at most `spec.image.MAX_MANIFEST_BYTES`.

        Raises NotFound for what is not there (also for "" when there are several: the hint lists `names()`),
        Corrupt when it is not what its digest says, Denied, Unavailable.
        """

    def blob(self, digest: str, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
        """The bytes of a blob from `offset` to its `size` as (position, chunk), through cuts and delays; chunks are
        at most 1 MiB. Raises NotFound, Corrupt for more bytes than `size`, Unavailable for fewer, Denied."""

    def names(self) -> tuple[str, ...]:
        """What `at` may be, in the source's order. For those who ask for what is not there; may be empty."""

    def stop(self) -> None:
        """From another thread: reads that wait fail with Cancelled or Unavailable at once."""

    def close(self) -> None:
        """Give up connections, descriptors, temporary files. Twice is fine."""


class Destination(Protocol):
    """Where images go. Blobs first, then documents, children before parents, `finish` last. One thread."""

    where: str

    def has(self, digest: str, size: int) -> bool:
        """Whether the blob is there, so that it need not be put."""

    def put(self, blob: Descriptor, read: Read, progress: Callable[[int], None]) -> bool:
        """Put a blob: its bytes come from `read`, `progress(bytes so far)` is called now and then. False when the
        bytes need not be moved after all (mounted from another repository). The content is checked against
        `blob.digest` on the way. Raises Corrupt, Denied, Unavailable, Exhausted."""

    def put_document(self, document: Document, at: str | None) -> None:
        """Put a manifest or index whose blobs and children are there. `at` is the tag (or name) it is to have; None:
        by its digest only. Raises Unsupported for what this place cannot hold."""

    def finish(self) -> None:
        """Make it visible and durable, where that is one step (an archive's rename). Then nothing else is called but
        `close`."""

    def close(self) -> None:
        """Give up what is open; without `finish` nothing half-written stays under its name. Twice is fine."""
