"""Blobs that are made here, so that their digest is known only at the end: layers of `commit`, `import`, archives.

Holds: `Ingest`, `sweep`. Does not hold: blobs that are fetched (`content.py`). The file is locked while its maker
lives; `sweep` removes those of the dead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os

from atoll.base import errors, files
from atoll.images.content import Blob
from atoll.spec import digest as digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from atoll.images.content import ContentStore


class Ingest:
    """One blob on its way into the store. Without `commit` nothing of it stays. Owns a descriptor."""

    def __init__(self, store: ContentStore) -> None:
        store.prepare()
        self._store = store
        self._path = f"{store.root}/partial/new.{os.getpid()}.{os.urandom(4).hex()}"
        self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Append. Raises OSError when the disk is full."""
        files.write_all(self.fd, chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def commit(self, digest: str | None = None) -> Blob:
        """Flush to disk, make visible under its digest. `digest`: what it must have (`write` was used), Corrupt
        otherwise."""
        actual = "sha256:" + self._hash.hexdigest()
        if digest is not None and digests.check(digest) != actual:
            raise errors.Corrupt(f"content has digest {actual}, not {digest}")
        return self._rename(actual, self.size)

    def commit_as(self, digest: str, size: int) -> Blob:
        """Like `commit`, for bytes that another process wrote to `fd` and hashed on the way."""
        if os.fstat(self.fd).st_size != size:
            raise errors.Corrupt(f"{os.fstat(self.fd).st_size} bytes were written instead of {size}")
        return self._rename(digests.check(digest), size)

    def _rename(self, digest: str, size: int) -> Blob:
        if not self._store.has(digest, size):
            os.fsync(self.fd)
            os.rename(self._path, self._store.path(digest))
            files.sync_directory(f"{self._store.root}/blobs/sha256")
        return Blob(digest=digest, size=size)

    def close(self) -> None:
        """Drop what was not committed. Twice is fine."""
        if self.fd >= 0:
            files.unlink_if_present(self._path)
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def abandoned(store: ContentStore) -> list[str]:
    """The files that dead makers left."""
    try:
        names = [name for name in os.listdir(f"{store.root}/partial") if name.startswith("new.")]
    except FileNotFoundError:
        return []
    return [path for name in names if _is_free(path := f"{store.root}/partial/{name}")]


def sweep(store: ContentStore) -> None:
    """Remove what dead makers left."""
    for path in abandoned(store):
        files.unlink_if_present(path)


def _is_free(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
