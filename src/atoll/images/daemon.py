"""A Docker daemon as source and destination: `docker-daemon:NAME`, over its socket, in the form of `docker save`.

Holds: `DaemonSource`, `DaemonDestination`. Does not hold: the archive itself (`archive.py`), HTTP (`http.py`). The
daemon is the one that $DOCKER_HOST names, if that is a socket of this machine, otherwise /var/run/docker.sock;
Podman's socket speaks the same. Its archive passes through an unnamed file: the daemon makes it only once.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.base.rollback import Rollback
from atoll.images import connection, http
from atoll.images import url as urls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from atoll.images.http import Response
    from atoll.images.source import Destination, Document, Read, Source
    from atoll.spec.image import Descriptor

_SOCKET = "/var/run/docker.sock"
_CONNECT, _ANSWER = 10.0, 300.0  # a daemon that packs a large image is silent for long
_CHUNK = 256 << 10


def socket_path() -> str:
    """Where the daemon listens. Raises Unsupported for one on another machine."""
    host = os.environ.get("DOCKER_HOST", "")
    if not host:
        return _SOCKET
    if not host.startswith("unix://"):
        raise errors.Unsupported(
            f"docker-daemon: DOCKER_HOST is {host}, which is not a socket of this machine",
            hint="use 'docker save' and docker-archive:FILE",
        )
    return host.removeprefix("unix://")


class DaemonSource:
    """`Source` over one image of a daemon, fetched whole when it is opened."""

    def __init__(self, name: str) -> None:
        from atoll.images.archive import ArchiveSource
        from atoll.images.shelf import unnamed

        self.where = f"docker-daemon:{name}"
        with Rollback() as undo:
            self._fd = unnamed()
            undo.push(os.close, self._fd)
            _fetch(name, self._fd)
            self._archive: Source = ArchiveSource(f"/proc/self/fd/{self._fd}")
            undo.release()

    def digest(self, at: str) -> str | None:
        """As the archive."""
        return self._archive.digest(at)

    def document(self, at: str) -> Document:
        """As the archive."""
        return self._archive.document(at)

    def blob(self, digest: str, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
        """As the archive."""
        return self._archive.blob(digest, offset, size)

    def names(self) -> tuple[str, ...]:
        """As the archive."""
        return self._archive.names()

    def stop(self) -> None:
        """As the archive."""
        self._archive.stop()

    def close(self) -> None:
        """Give up the file."""
        self._archive.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class DaemonDestination:
    """`Destination` over a daemon: an archive beside the temporary files, loaded by `finish`."""

    def __init__(self, name: str) -> None:
        from atoll.images.archive import ArchiveDestination

        self.where = f"docker-daemon:{name}"
        self._folder = _folder()
        self._path = f"{self._folder}/image.tar"
        self._archive: Destination = ArchiveDestination(self._path)

    def has(self, digest: str, size: int) -> bool:
        """As the archive."""
        return self._archive.has(digest, size)

    def put(self, blob: Descriptor, read: Read, progress: Callable[[int], None]) -> bool:
        """As the archive."""
        return self._archive.put(blob, read, progress)

    def put_document(self, document: Document, at: str | None) -> None:
        """As the archive."""
        self._archive.put_document(document, at)

    def finish(self) -> None:
        """Have the daemon load it. Raises Unavailable with the daemon's words."""
        self._archive.finish()
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _load(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Remove the archive."""
        self._archive.close()
        files.remove_tree(self._folder)


def _folder() -> str:
    import tempfile

    return tempfile.mkdtemp(prefix="atoll-daemon-", dir=os.environ.get("TMPDIR") or "/var/tmp")


def _fetch(name: str, fd: int) -> None:
    response, close = _exchange("GET", f"/images/get?names={urls.quote(name)}", None, {})
    try:
        if response.status == 404:
            raise errors.NotFound(f"docker-daemon: no such image: {name}")
        if response.status != 200:
            raise _said(response)
        while chunk := response.read1(_CHUNK):
            files.write_all(fd, chunk)
    except OSError as error:
        raise errors.from_os_error(error, f"fetch {name} from the daemon") from error
    finally:
        close()


def _load(fd: int) -> None:
    def pieces() -> Iterator[bytes]:
        offset = 0
        while chunk := os.pread(fd, _CHUNK, offset):
            yield chunk
            offset += len(chunk)

    headers = {"Content-Type": "application/x-tar", "Content-Length": str(os.fstat(fd).st_size)}
    response, close = _exchange("POST", "/images/load?quiet=1", pieces(), headers)
    try:
        if response.status != 200:
            raise _said(response)
        words = _words(response)  # a failure in the middle has status 200 too
        if '"error"' in words or '"errorDetail"' in words:
            raise errors.Unavailable(f"docker-daemon: loading failed: {words[:300]}")
    finally:
        close()


def _exchange(
    method: str, path: str, body: Iterator[bytes] | None, headers: dict[str, str]
) -> tuple[Response, Callable[[], None]]:
    place = socket_path()
    try:
        sock = connection.unix(place, _CONNECT)
    except OSError as error:
        raise errors.Unavailable(
            f"docker-daemon: cannot reach {place}: {error.strerror}", hint="is the daemon running? see DOCKER_HOST"
        ) from error
    try:
        sock.settimeout(_ANSWER)
        try:
            http.send(sock, method, path, {"Host": "docker", **headers}, body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it answers before the end: that answer says why
        return http.receive(http.Wire(sock), method, _ANSWER), sock.close
    except OSError as error:
        sock.close()
        raise errors.Unavailable(f"docker-daemon: the connection to {place} broke off: {error}") from error
    except BaseException:
        sock.close()
        raise


def _words(response: Response) -> str:
    parts, total = [], 0
    while total < 1 << 16 and (chunk := response.read1(1 << 14)):
        parts.append(chunk)
        total += len(chunk)
    text = b"".join(parts).decode("utf-8", "replace")
    return "".join([c for c in text if c.isprintable()])


def _said(response: Response) -> errors.AtollError:
    words = _words(response)
    try:
        words = str(jsontext.loads(words)["message"])
    except (ValueError, KeyError, TypeError):
        pass
    return errors.Unavailable(f"docker-daemon: status {response.status}: {words[:300]}")
