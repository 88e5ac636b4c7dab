"""OCI image layouts: directories and archives of them (`oci:DIR`, `oci-archive:FILE`).

Holds: `LayoutSource`, `LayoutDestination`. Source: image-spec, image-layout.md. What `at` may be: a name
(`org.opencontainers.image.ref.name`), `@N` for the N-th entry of the index, a digest, "" for the only entry.
"""

from __future__ import annotations

import fcntl
import os
import stat

from atoll.base import errors, files, jsontext
from atoll.images import shelf
from atoll.images.source import Document
from atoll.spec import digest as digests
from atoll.spec import image as documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from atoll.images.source import Read
    from atoll.snapshots import packing
    from atoll.spec.image import Descriptor

REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"  # what containerd and Docker write beside it
_BLOCK = 512
MARK = b'{"imageLayoutVersion":"1.0.0"}'


def blob_name(digest: str) -> str:
    """Where a layout has a blob."""
    return f"blobs/sha256/{digests.encoded(digests.check(digest))}"


class LayoutSource:
    """A `Source` over a layout in a directory or an archive."""

    def __init__(self, path: str | int, opened: shelf.Shelf | None = None) -> None:
        self.where = f"the image layout {path}"
        self._shelf = opened or shelf.open_shelf(path)
        try:
            self._entries = self._read_index()
        except BaseException:
            self.close()
            raise

    def _read_index(self) -> tuple[Descriptor, ...]:
        try:
            body = shelf.read(self._shelf, "index.json", documents.MAX_MANIFEST_BYTES)
        except errors.NotFound:
            raise errors.Corrupt(f"{self.where} has no index.json, so it is none") from None
        # An empty list is an index too; parse_document wants to see which of both it is.
        index = documents.parse_document(body, documents.OCI_INDEX, self.where)
        if not isinstance(index, documents.Index):
            raise errors.Corrupt(f"{self.where}: index.json is a manifest")
        return index.manifests

    def names(self) -> tuple[str, ...]:
        """The names of its entries, in its order."""
        return tuple([name for one in self._entries if (name := _name(one))])

    def every(self) -> list[tuple[str, str | None]]:
        """All entries: what to ask for, and the name, if there is one."""
        return [(f"@{index}", _name(one)) for index, one in enumerate(self._entries)]

    def digest(self, at: str) -> str | None:
        """The digest of an entry: the index says it."""
        return self._find(at).digest if not digests.valid(at) else at

    def document(self, at: str) -> Document:
        """A document of the layout."""
        if digests.valid(at):
            digest, media_type = at, None
        else:
            entry = self._find(at)
            digest, media_type = entry.digest, entry.media_type
        body = shelf.read(self._shelf, blob_name(digest), documents.MAX_MANIFEST_BYTES)
        if digests.of(body) != digest:
            raise errors.Corrupt(f"{self.where}: a document has digest {digests.of(body)}, not {digest}")
        parsed = documents.parse_document(body, media_type, f"{self.where} {at}".strip())
        return Document(body=body, media_type=parsed.media_type, digest=digest)

    def blob(self, digest: str, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
        """A blob of the layout."""
        return shelf.blob(self._shelf, self.where, blob_name(digest), digest, offset, size)

    def is_whole(self, at: str) -> bool:
        """Whether an entry is an index, and all that it names is in the layout. Raises Corrupt."""
        outer = documents.parse_document(self.document(at).body, None, self.where)
        if not isinstance(outer, documents.Index):
            return False
        for one in outer.manifests:
            if self._shelf.size(blob_name(one.digest)) != one.size:
                return False
            inner = documents.parse_document(self.document(one.digest).body, one.media_type, self.where)
            if not isinstance(inner, documents.Manifest):
                return False
            if any(self._shelf.size(blob_name(blob.digest)) != blob.size for blob in (inner.config, *inner.layers)):
                return False
        return True

    def stop(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Give up the files."""
        self._shelf.close()

    def _find(self, at: str) -> Descriptor:
        found = self._entries
        if at.startswith("@") and at[1:].isdigit():
            found = self._entries[int(at[1:]) :][:1]
        elif at:
            found = tuple([one for one in self._entries if at in _names(one)])
        if len(found) == 1:
            return found[0]
        known = ", ".join(self.names()) or f"{len(self._entries)} entries without names: @0, @1, …"
        if not found:
            raise errors.NotFound(f"{self.where} has no image {at!r}", hint=f"it has {known}")
        raise errors.NotFound(f"{self.where} has several images", hint=f"choose one of {known}")


def _names(entry: Descriptor) -> tuple[str, ...]:
    found = dict(entry.annotations)
    return tuple([found[key] for key in (_FULL_NAME, REF_NAME) if found.get(key)])


def _name(entry: Descriptor) -> str | None:
    names = _names(entry)
    return names[0] if names else None


class LayoutDestination:
    """A `Destination` that makes a layout, or adds to the one in a directory. Nothing is named before `finish`."""

    def __init__(self, path: str, *, tar: bool = False) -> None:
        self.where = f"oci{'-archive' if tar else ''}:{path}"
        self._archive: ArchiveFile | None = ArchiveFile(path) if tar else None
        self._path = path
        self._entries: list[dict[str, Any]] = []
        if not tar:
            os.makedirs(f"{path}/blobs/sha256", exist_ok=True)
            self._entries = _entries_of(path)

    def has(self, digest: str, size: int) -> bool:
        """Whether the blob is in it."""
        if self._archive is not None:
            return self._archive.has(blob_name(digest))
        try:
            return os.stat(f"{self._path}/{blob_name(digest)}").st_size == size
        except FileNotFoundError:
            return False

    def put(self, blob: Descriptor, read: Read, progress: Callable[[int], None]) -> bool:
        """Copy a blob, hashed on the way."""
        if self._archive is not None:
            self._archive.copy(blob_name(blob.digest), blob, read, progress)
            return True
        target = f"{self._path}/{blob_name(blob.digest)}"
        temporary = f"{target}.{os.getpid()}.tmp"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            for chunk in verified(blob, read, progress):
                files.write_all(fd, chunk)
            os.fsync(fd)
            os.rename(temporary, target)
        except BaseException:
            files.unlink_if_present(temporary)
            raise
        finally:
            os.close(fd)
        return True

    def put_document(self, document: Document, at: str | None) -> None:
        """Keep a document; with a name it becomes an entry of the index, in place of the one that has it."""
        if self._archive is not None:
            self._archive.add(blob_name(document.digest), document.body)
        else:
            path = f"{self._path}/{blob_name(document.digest)}"
            files.write_atomic(path, document.body, mode=0o644, sync=True)
        if at is None:
            return
        entry: dict[str, Any] = {
            "mediaType": document.media_type,
            "digest": document.digest,
            "size": len(document.body),
        }
        if at:
            entry["annotations"] = {REF_NAME: at}
        self._entries = [one for one in self._entries if not _replaced(one, at, document.digest)]
        self._entries.append(entry)

    def finish(self) -> None:
        """The index last: it is what makes the rest findable."""
        index = jsontext.dumps(
            {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": self._entries}
        ).encode()
        if self._archive is not None:
            self._archive.add("oci-layout", MARK)
            self._archive.add("index.json", index)
            self._archive.finish()
            return
        files.write_atomic(f"{self._path}/oci-layout", MARK, mode=0o644, sync=True)
        files.write_atomic(f"{self._path}/index.json", index, mode=0o644, sync=True)

    def close(self) -> None:
        """An archive that was not finished goes."""
        if self._archive is not None:
            self._archive.close()


def _replaced(entry: dict[str, Any], at: str, digest: str) -> bool:
    """Whether an entry makes way for a new one: it has the name, or is the same image without any."""
    annotations = entry.get("annotations") or {}
    if at and annotations.get(REF_NAME) == at:
        return True
    return entry.get("digest") == digest and not annotations


def _entries_of(path: str) -> list[dict[str, Any]]:
    """The index of a layout that is there already, as JSON, so that what we do not know of is kept."""
    try:
        document = jsontext.loads(files.read_bytes(f"{path}/index.json"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise errors.Corrupt(f"{path}/index.json: {error}") from None
    found = document.get("manifests") if isinstance(document, dict) else None
    return [one for one in found or [] if isinstance(one, dict)]


def verified(blob: Descriptor, read: Read, progress: Callable[[int], None]) -> Iterator[bytes]:
    """A blob's bytes; Corrupt at the end if they are not what its digest says."""
    import hashlib

    seen, size = hashlib.sha256(), 0
    for chunk in read(0):
        seen.update(chunk)
        size += len(chunk)
        progress(size)
        yield chunk
    if size != blob.size or "sha256:" + seen.hexdigest() != blob.digest:
        raise errors.Corrupt(f"{blob.digest}: its content is damaged", hint="pull the image again")


class ArchiveFile:
    """A tar archive being written: beside its name and renamed at the end, or into a pipe (`-`, or a descriptor).

    Entries are the same for the same images, so that the archive is too."""

    def __init__(self, path: str | int) -> None:
        from atoll.snapshots.packing import TarWriter

        named = path if isinstance(path, str) and path != "-" else None
        self._path = None if named is None or _is_pipe(named) else named
        if self._path is not None:
            self._temporary = f"{self._path}.{os.getpid()}.tmp"
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._temporary, flags, 0o600)
        elif named is not None:
            self._fd = os.open(named, os.O_WRONLY | os.O_CLOEXEC)
        else:
            self._fd = os.dup(1 if path == "-" else int(path))
        self._tar = TarWriter(lambda data: files.write_all(self._fd, data))
        self._names: set[str] = set()
        self.rewritable = _is_rewritable(self._fd)
        """Whether what was written can still be changed: a file that ends where we begin, no pipe."""

    def has(self, name: str) -> bool:
        """Whether there is such an entry."""
        return name in self._names

    def add(self, name: str, data: bytes) -> None:
        """A small file; the same name again is passed over."""
        if name not in self._names:
            self._begin(name, len(data))
            files.write_all(self._fd, data + bytes(-len(data) % 512))

    def copy(self, name: str, blob: Descriptor, read: Read, progress: Callable[[int], None]) -> None:
        """A blob, checked on the way."""
        if name not in self._names:
            self._begin(name, blob.size)
            for chunk in verified(blob, read, progress):
                files.write_all(self._fd, chunk)
            files.write_all(self._fd, bytes(-blob.size % 512))

    def copy_file(self, name: str, fd: int) -> None:
        """An open file's content, from its beginning."""
        if name not in self._names:
            self._names.add(name)
            self._tar.add(_member(name, os.fstat(fd).st_size), fd)

    def begin_unnamed(self) -> int:
        """Leave room for the header of an entry whose name and size its content will tell; `append` writes that,
        `end_unnamed` is given what this returns. Only where `rewritable`."""
        at = os.lseek(self._fd, 0, os.SEEK_CUR)
        files.write_all(self._fd, bytes(_BLOCK))
        return at

    def append(self, data: bytes) -> None:
        """Content of the entry that was begun."""
        files.write_all(self._fd, data)

    def end_unnamed(self, at: int, name: str) -> int:
        """Give the entry that was begun `at` its header, or drop it when there is one of that name. Its size."""
        from atoll.snapshots import packing

        start = at + _BLOCK
        size = os.lseek(self._fd, 0, os.SEEK_CUR) - start
        if name in self._names:
            os.ftruncate(self._fd, at)
            os.lseek(self._fd, at, os.SEEK_SET)
            return size
        self._names.add(name)
        files.write_all(self._fd, bytes(-size % _BLOCK))
        headers = packing.headers(_member(name, size))
        if len(headers) > _BLOCK:  # 8 GiB and more
            self._move(start, at + len(headers))
        os.pwrite(self._fd, headers, at)
        return size

    def _move(self, start: int, target: int) -> None:
        """What was written from `start` on, further back: from its end, so that nothing is written over."""
        end = os.lseek(self._fd, 0, os.SEEK_CUR)
        both = os.open(f"/proc/self/fd/{self._fd}", os.O_RDWR | os.O_CLOEXEC)  # ours may be for writing only
        try:
            while end > start:
                step = min(end - start, 1 << 20)
                end -= step
                os.pwrite(both, os.pread(both, step, end), target + end - start)
        finally:
            os.close(both)
        os.lseek(self._fd, target - start, os.SEEK_CUR)

    def _begin(self, name: str, size: int) -> None:
        self._names.add(name)
        self._tar.add(_member(name, size))

    def finish(self) -> None:
        """The end mark; flushed and given its name."""
        self._tar.finish()
        if self._path is not None:
            os.fsync(self._fd)
            os.fchmod(self._fd, 0o666 & ~_umask())
            os.rename(self._temporary, self._path)

    def close(self) -> None:
        """Give up the file; unfinished it goes. Twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if self._path is not None:
                files.unlink_if_present(self._temporary)


def _is_pipe(path: str) -> bool:
    """Whether a name is that of a pipe, which is written into, not replaced. Raises InvalidArgument for a device, as
    Docker does: it would be replaced by a file."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise errors.InvalidArgument(
            f"invalid output path: {path} is a device, not a regular file",
            hint="without -o it goes to standard output",
        )
    return stat.S_ISFIFO(mode)


def _is_rewritable(fd: int) -> bool:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return False
    appends = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND
    return not appends and os.lseek(fd, 0, os.SEEK_CUR) == os.fstat(fd).st_size


def _member(name: str, size: int) -> packing.Member:
    from atoll.snapshots import packing, tar

    return packing.Member(name=name.encode(), kind=tar.REGULAR, mode=0o644, size=size)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    found = os.umask(0o077)
    os.umask(found)
    return found
