"""import: a file system's archive or a directory becomes an image of one layer."""

from __future__ import annotations

import os
import time

from atoll.base import clock, errors
from atoll.engine.events import note as events
from atoll.engine.images import making
from atoll.images.ingest import Ingest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from atoll.engine.engine import Engine
    from atoll.images.content import Blob

_CHUNK = 1 << 20


def import_image(
    engine: Engine,
    source: str,
    name: str | None,
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: str | None = None,
    disk: bool = False,
) -> str:
    """Make an image of a tar archive (a file, an URL, `-` for standard input; compressed or not), of a directory, or
    with `disk` of the root on a disk (`images/disk`). Returns its id. Raises NotFound, InvalidArgument, Corrupt,
    Unavailable, Exhausted, Unsupported."""
    from atoll.images import making as documents
    from atoll.spec import platform as platforms

    making.name_of(name)
    created = clock.rfc3339(time.time_ns())
    config = documents.new_config(created, platforms.parse(platform) if platform else None)
    config = documents.changed(config, changes)
    with making.content_lock(engine), Ingest(engine.content()) as ingest:
        blob = _fill_from_disk(ingest, source) if disk else _fill(ingest, source)
        comment = message or f"Imported from {source}"
        config = documents.with_layer(config, blob.digest, created=created, comment=comment)
        image_id = making.make(engine, config, [documents.layer(blob)], name)
    events.note(engine, "image", "import", image_id, name=name or image_id)
    making.keep_within(engine, [image_id])
    return image_id


def _fill_from_disk(ingest: Ingest, source: str) -> Blob:
    from atoll.images.disk import archive

    try:
        archive.write(source, ingest.write)
    except OSError as error:
        raise errors.from_os_error(error, f"read the disk {source}") from error
    return ingest.commit()


def _fill(ingest: Ingest, source: str) -> Blob:
    from atoll.snapshots import diff
    from atoll.snapshots.stream import Ahead, Plain

    if os.path.isdir(source):
        fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            diff.write_tree(fd, ingest.write)
        except OSError as error:
            raise errors.from_os_error(error, f"read {source}") from error
        finally:
            os.close(fd)
        return ingest.commit()
    with _Bytes(source) as read:
        ahead = Ahead(Plain(read, hashed=False).chunks())
        try:
            while chunk := ahead.next():
                ingest.write(chunk)
        except BaseException:
            ahead.abandon()
            raise
    if not ingest.size:
        raise errors.InvalidArgument(f"{source} is empty", hint="a tar archive is expected")
    return ingest.commit()


class _Bytes:
    """What a source gives, chunk by chunk; b"" at the end."""

    def __init__(self, source: str) -> None:
        self._fd = -1
        self._remote: Iterator[bytes] | None = None
        if source.startswith(("http://", "https://")):
            self._remote = fetched(source)
        elif source == "-":
            self._fd = os.dup(0)
        else:
            try:
                self._fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise errors.from_os_error(error, f"open {source}") from error

    def __enter__(self) -> Callable[[], bytes]:
        return self._read

    def _read(self) -> bytes:
        return next(self._remote, b"") if self._remote is not None else os.read(self._fd, _CHUNK)

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def fetched(url: str) -> Iterator[bytes]:
    """The bytes behind an URL. Raises Unavailable, NotFound."""
    import http.client
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            while chunk := answer.read(_CHUNK):
                yield chunk
    except urllib.error.HTTPError as error:
        kind = errors.NotFound if error.code in (404, 410) else errors.Unavailable
        raise kind(f"{url}: {error.code} {error.reason}") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise errors.Unavailable(f"cannot fetch {url}: {error}") from None
