"""From a layer's blob to the plain bytes of its archive, hashed on the way.

Holds: decompression (gzip, zstd, none; recognised by their first bytes, as a media type may lie), the diffID, the
guard against bombs, a thread that does both ahead of the unpacking. Does not hold: the archive's meaning (`tar.py`).
ISA-L's inflate is used where the `isal` package is installed, otherwise zlib, at a third of the speed.
"""

from __future__ import annotations

import hashlib

from atoll.base import errors, threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Read = Callable[[], bytes]

OUT = 1 << 20  # bytes of plain archive a step: large enough that steps cost nothing, small enough for caches
_FIRST = 64 << 10  # the first step of a layer: the thread that writes files is to begin soon
_AHEAD = 8  # chunks that may wait between the two threads
# gzip cannot exceed 1032:1. Real layers stay below 100:1 but for large runs of zeros; beyond the free allowance a
# ratio above the limit is a bomb.
_GZIP = b"\x1f\x8b"
_FREE = 8 << 30
_RATIO = 400


def preload(first: bytes) -> None:
    """Import what the decompression of a blob that begins so will need, while modules can still be found."""
    import _queue  # noqa: F401 - `Ahead` uses it

    if first[:2] == _GZIP:
        _inflater()
    elif _is_zstd(first):
        try:
            import zstandard  # noqa: F401 - `Plain` uses it
        except ImportError:
            return


class Plain:
    """The plain bytes of a blob as chunks, with their digest (`hashed` off: without). `read` yields the blob's bytes,
    b"" at the end. `blob`: the blob's digest, if somebody else holds its bytes against that: those of one that is not
    compressed are not hashed once more."""

    def __init__(self, read: Read, *, hashed: bool = True, blob: str | None = None) -> None:
        self._read = read
        self._blob = blob
        self._hash = hashlib.sha256() if hashed else None
        self.taken = 0
        """Bytes of the blob consumed so far."""
        self.given = 0

    def chunks(self) -> Iterator[bytes]:
        """All chunks. Raises Corrupt for a damaged blob, Exhausted for a bomb."""
        first = self._take()
        if first[:2] == _GZIP:
            source = self._gzip(first)
        elif _is_zstd(first):
            source = self._zstd(first)
        else:
            source = self._none(first)
            if self._blob is not None:
                self._hash = None
        for chunk in source:
            self.given += len(chunk)
            if self.given > _FREE and self.given > self.taken * _RATIO:
                raise errors.Exhausted(
                    f"the layer expands {self.given // max(self.taken, 1)} times, which only a bomb does"
                )
            yield chunk
            if self._hash is not None:
                self._hash.update(chunk)  # after it was handed on: whoever writes it need not wait

    def digest(self) -> str:
        """The diffID, once all chunks are taken and the end was seen."""
        if self._hash is None:
            assert self._blob is not None
            return self._blob
        return "sha256:" + self._hash.hexdigest()

    def _take(self) -> bytes:
        data = self._read()
        self.taken += len(data)
        return data

    def _none(self, first: bytes) -> Iterator[bytes]:
        while first:
            yield first
            first = self._take()

    def _gzip(self, data: bytes) -> Iterator[bytes]:
        """All members, one after the other (RFC 1952); zeros may follow, anything else may not."""
        make, failure = _inflater()
        inflate = make()
        step = _FIRST
        while True:
            try:
                out = inflate.decompress(data, step)
            except failure as error:
                raise errors.Corrupt(f"damaged gzip data in the layer: {error}") from None
            if out:
                yield out
            if inflate.eof:
                data = inflate.unused_data or self._take()
                while data and not data.strip(b"\0"):
                    data = self._take()
                if not data:
                    return
                while len(data) < 2:
                    data += self._take() or b"??"
                if data[:2] != b"\x1f\x8b":
                    raise errors.Corrupt("damaged gzip data in the layer: something else follows it")
                inflate = make()
                continue
            data = inflate.unconsumed_tail
            if not data and len(out) < step:
                data = self._take()
                if not data:
                    raise errors.Corrupt("damaged gzip data in the layer: it breaks off")
            step = min(2 * step, OUT)

    def _zstd(self, first: bytes) -> Iterator[bytes]:
        """All frames (RFC 8878), skippable ones included, with a bounded window."""
        try:
            import zstandard
        except ImportError:
            raise errors.Unsupported(
                "the layer is compressed with zstd, and the zstandard package is missing",
                hint="install it beside Atoll: pip install zstandard",
            ) from None
        source = _Source(first, self._take)
        reader = zstandard.ZstdDecompressor(max_window_size=128 << 20).stream_reader(
            source,  # type: ignore[arg-type]
            read_size=256 << 10,
            read_across_frames=True,
        )
        while True:
            try:
                out = reader.read(OUT)
            except zstandard.ZstdError as error:
                raise errors.Corrupt(f"damaged zstd data in the layer: {error}") from None
            if not out:
                return
            yield out


def _is_zstd(first: bytes) -> bool:
    """A frame of zstd, or a skippable one before it."""
    return first[:4] == b"\x28\xb5\x2f\xfd" or (
        first[:1] != b"" and first[0] & 0xF0 == 0x50 and first[1:4] == b"\x2a\x4d\x18"
    )


class _Source:
    """The blob as a file object for the zstd reader."""

    def __init__(self, first: bytes, take: Read) -> None:
        self._left = first
        self._take = take

    def read(self, size: int = -1) -> bytes:
        data = self._left or self._take()
        if 0 <= size < len(data):
            data, self._left = data[:size], data[size:]
        else:
            self._left = b""
        return data


def _inflater() -> tuple[Callable[[], Any], Any]:
    try:
        from isal import isal_zlib

        return (lambda: isal_zlib.decompressobj(31)), isal_zlib.IsalError
    except ImportError:
        import zlib

        return (lambda: zlib.decompressobj(31)), zlib.error


class Ahead:
    """Runs an iterator of chunks in a thread, a bounded number of chunks ahead.

    `next` gives the next chunk, b"" at the end, and raises what the thread raised. Inflating and hashing leave the
    interpreter lock, so this thread and the one that writes files use two processors.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        from _queue import SimpleQueue

        self._ready: SimpleQueue[bytes | BaseException] = SimpleQueue()
        self._places: SimpleQueue[None] = SimpleQueue()
        """As many as there may still be chunks ahead."""
        for _ in range(_AHEAD):
            self._places.put(None)
        self._stopped = False
        self._ended: bytes | BaseException | None = None
        self._thread = threads.start(self._run, chunks)

    def _run(self, chunks: Iterator[bytes]) -> None:
        last: bytes | BaseException = b""
        try:
            for chunk in chunks:
                self._places.get()
                if self._stopped:
                    break
                self._ready.put(chunk)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that asked
            last = error
        self._ready.put(last)

    def next(self) -> bytes:
        """The next chunk."""
        if self._ended is None:
            item = self._ready.get()
            if isinstance(item, bytes) and item:
                self._places.put(None)
                return item
            self._ended = item
        if isinstance(self._ended, bytes):
            return self._ended
        raise self._ended

    def abandon(self) -> None:
        """Take nothing more: the thread ends at its next chunk. What it waits for must end too, or the process."""
        self._stopped = True
        self._places.put(None)
