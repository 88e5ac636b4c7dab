"""The content store: blobs by digest, in the OCI image layout.

Holds: reading and writing blobs, partial downloads that survive, one writer a blob over all processes.
Does not hold: which blobs are in use (rows of the engine), downloading (`transfer.py`).

    <root>/oci-layout, index.json           a valid, empty image layout (image-spec, image-layout.md)
    <root>/blobs/sha256/<hex>               whole and verified, or not there
    <root>/partial/<hex>                    what has come so far; a later pull goes on from its end
    <root>/partial/<hex>.lock               flock: its holder is the only writer
    <root>/partial/new.<name>               being written here, its digest not yet known (`ingest.py`); locked

A blob is hashed while it is written, flushed, and renamed only when digest and size are right. Whoever waits for the
lock finds the blob there afterwards, or the partial file of a writer that was killed.
"""

from __future__ import annotations

import fcntl
import os

from atoll.base import errors, files
from atoll.base.value import Value
from atoll.spec import digest as digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any, Self

_CHUNK = 1 << 20


class Blob(Value):
    """A blob of the store and its size in bytes."""

    digest: str
    size: int


class ContentStore:
    """Blobs under one root. Keeps no state of its own: any number of processes share the root."""

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, digest: str) -> str:
        """Where a blob is or would be. Raises InvalidArgument for what is no digest."""
        return f"{self.root}/blobs/sha256/{digests.encoded(digests.check(digest))}"

    def has(self, digest: str, size: int | None = None) -> bool:
        """Whether the blob is there, with `size` bytes if that is known."""
        try:
            found = os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return False
        return size is None or found == size

    def size(self, digest: str) -> int:
        """Its size in bytes. Raises NotFound."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise _absent(digest) from None

    def open(self, digest: str) -> int:
        """A descriptor for reading it. Raises NotFound."""
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _absent(digest) from None

    def read(self, digest: str, *, limit: int = 16 << 20) -> bytes:
        """A small blob (document) as a whole, verified again. Raises NotFound, Corrupt."""
        fd = self.open(digest)
        try:
            if os.fstat(fd).st_size > limit:
                raise errors.Corrupt(f"{digest} has more than {limit} bytes, too many for a document")
            parts = []
            while chunk := os.read(fd, _CHUNK):
                parts.append(chunk)
        finally:
            os.close(fd)
        body = b"".join(parts)
        if digests.of(body) != digest:
            raise errors.Corrupt(
                f"the stored content {digest} does not have this digest any more",
                hint="remove the image and pull it again",
            )
        return body

    def put(self, body: bytes, digest: str | None = None) -> str:
        """Store a document; the same twice is fine. Returns its digest. Raises Corrupt if it is not `digest`."""
        actual = digests.of(body)
        if digest is not None and actual != digests.check(digest):
            raise errors.Corrupt(f"content has digest {actual}, not {digest}")
        if not self.has(actual, len(body)):
            self._make_layout()
            files.write_atomic(self.path(actual), body, mode=0o600, sync=True)
        return actual

    def writer(
        self,
        digest: str,
        size: int,
        *,
        waiting: Callable[[], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> BlobWriter | None:
        """The only writer of a blob, gone on from the partial file if there is one; None if the blob is (by now)
        there. While another process writes it, this waits: `waiting` is called once, `stop` ends the wait.

        Raises Cancelled, OSError.
        """
        import time

        digests.check(digest)
        self._make_layout()
        announced = False
        while True:
            if self.has(digest, size):
                return None
            lock_fd = self._try_lock(digest)
            if lock_fd is not None:
                break
            if waiting is not None and not announced:
                announced = True
                waiting()
            if stop is not None and stop():
                raise errors.Cancelled(f"waiting for another download of {digest}")
            time.sleep(0.02)
        if self.has(digest, size):
            self._unlock(digest, lock_fd)
            return None
        try:
            return BlobWriter(self, digest, size, lock_fd)
        except BaseException:
            os.close(lock_fd)
            raise

    def remove(self, digest: str) -> None:
        """Remove a blob and what is partial of it; absent is fine. The caller knows that no image uses it."""
        files.unlink_if_present(self.path(digest))
        files.unlink_if_present(self._partial(digest))

    def remove_partial(self, digest: str) -> bool:
        """Remove what an unfinished download left; False if somebody is at it."""
        lock_fd = self._try_lock(digest)
        if lock_fd is None:
            return False
        files.unlink_if_present(self._partial(digest))
        self._unlock(digest, lock_fd)
        return True

    def blobs(self) -> Iterator[Blob]:
        """All blobs, in no order."""
        return _listed(f"{self.root}/blobs/sha256")

    def partials(self) -> Iterator[Blob]:
        """What unfinished downloads left, with the bytes so far."""
        return _listed(f"{self.root}/partial")

    def _partial(self, digest: str) -> str:
        return f"{self.root}/partial/{digests.encoded(digest)}"

    def _try_lock(self, digest: str) -> int | None:
        """The descriptor of the taken lock. A lock file that was removed between open and flock guards nothing,
        so the name must still lead to the file that is locked."""
        path = self._partial(digest) + ".lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink > 0:
                return fd
        except BlockingIOError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def _unlock(self, digest: str, lock_fd: int) -> None:
        files.unlink_if_present(self._partial(digest) + ".lock")
        os.close(lock_fd)

    def prepare(self) -> None:
        """Make the layout's own files. Before threads use the store: a temporary name is one per process."""
        self._make_layout()

    def _make_layout(self) -> None:
        if os.path.exists(f"{self.root}/oci-layout"):
            return
        for folder in ("blobs/sha256", "partial"):
            os.makedirs(f"{self.root}/{folder}", 0o700, exist_ok=True)
        if not os.path.exists(f"{self.root}/index.json"):
            files.write_atomic(f"{self.root}/index.json", b'{"schemaVersion":2,"manifests":[]}')
        files.write_atomic(f"{self.root}/oci-layout", b'{"imageLayoutVersion":"1.0.0"}')


class BlobWriter:
    """Writes one blob: hash while writing, commit when whole. Leaving it without `commit` keeps the partial file
    for the next attempt; `discard` drops it. Owns the lock and a descriptor."""

    def __init__(self, store: ContentStore, digest: str, size: int, lock_fd: int) -> None:
        import hashlib

        self._store = store
        self._lock_fd = lock_fd
        self.digest = digest
        self.size = size
        self.path = store._partial(digest)
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._hash: Any = hashlib.sha256()
        self.offset = 0
        """Bytes that are written and hashed; the download goes on from here."""
        try:
            self._take_up()
        except BaseException:
            os.close(self.fd)
            raise

    def _take_up(self) -> None:
        """Hash what an earlier attempt left. More than the whole blob cannot be right: start over."""
        left = os.fstat(self.fd).st_size
        if left > self.size:
            os.ftruncate(self.fd, 0)
            return
        while self.offset < left:
            chunk = os.pread(self.fd, min(_CHUNK, left - self.offset), self.offset)
            if not chunk:
                break
            self._hash.update(chunk)
            self.offset += len(chunk)

    def write(self, chunk: bytes) -> None:
        """Append. Raises Corrupt when it becomes more than the announced size, OSError when the disk is full."""
        if self.offset + len(chunk) > self.size:
            raise errors.Corrupt(f"{self.digest}: more than the {self.size} bytes that its manifest announces")
        view = memoryview(chunk)
        position = self.offset
        while view:
            written = os.pwrite(self.fd, view, position)
            position += written
            view = view[written:]
        self._hash.update(chunk)
        self.offset = position

    def restart(self) -> None:
        """Forget what is there, in memory and on disk."""
        import hashlib

        os.ftruncate(self.fd, 0)
        self._hash = hashlib.sha256()
        self.offset = 0

    def verify(self) -> None:
        """Check size and digest of what was written. On a mismatch the partial file goes. Raises Corrupt."""
        actual = "sha256:" + self._hash.hexdigest()
        if self.offset != self.size or actual != self.digest:
            got = f"{self.offset} bytes with digest {actual}"
            self.discard()
            raise errors.Corrupt(
                f"{self.digest}: got {got}, expected {self.size} bytes",
                hint="the registry or something on the way alters content; nothing was kept",
            )

    def commit(self) -> None:
        """Verify, flush to disk, make visible. Raises Corrupt, OSError."""
        self.verify()
        os.fsync(self.fd)
        os.rename(self.path, self._store.path(self.digest))
        files.sync_directory(f"{self._store.root}/blobs/sha256")

    def discard(self) -> None:
        """Drop the partial file; the writer stays open until `close`."""
        files.unlink_if_present(self.path)

    def close(self) -> None:
        """Give up the lock; the partial file stays if there is anything in it."""
        if self._lock_fd >= 0:
            if not self.offset:
                self.discard()
            os.close(self.fd)
            self._store._unlock(self.digest, self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _listed(folder: str) -> Iterator[Blob]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if digests.valid("sha256:" + entry.name):
                yield Blob(digest="sha256:" + entry.name, size=entry.stat(follow_symlinks=False).st_size)


def _absent(digest: str) -> errors.NotFound:
    return errors.NotFound(f"content {digest} is not in the store", hint="pull the image again")
