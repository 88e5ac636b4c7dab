"""A reader of tar archives: ustar, GNU (long names, sparse, base-256 numbers) and PAX, from a stream of chunks.

Holds: parsing, with bounds on everything an archive may claim. Does not hold: what an entry does to a file tree
(`apply.py`), decompression (`stream.py`). Sources: POSIX.1-2017 pax, tar(5), GNU tar manual "Sparse Formats".
Names are bytes from end to end: what the archive says is what the kernel gets.
"""

from __future__ import annotations

import struct
import zlib

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
MAX_EXTENSION = 4 << 20  # one PAX header or long name; a legal one holds a path and a few attributes
MAX_SPARSE = 1 << 20
MAX_ID = (1 << 32) - 2  # (uid_t) -1 means "no change" to chown(2)

REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_WITHOUT_DATA = frozenset((HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))
_KNOWN = _WITHOUT_DATA | {REGULAR}

_unpack = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s").unpack
_ZERO = bytes(BLOCK)
_MAX_READ = 4096
_read: dict[bytes, tuple[int, int, int, int]] = {}
"""Fields of headers, as they stand there → mode, uid, gid, mtime in nanoseconds."""


class Entry:
    """One member. `size` counts its bytes in the archive; `real_size` is the file's (they differ when sparse)."""

    __slots__ = (
        "gid",
        "kind",
        "link",
        "major",
        "minor",
        "mode",
        "mtime_ns",
        "name",
        "real_size",
        "size",
        "sparse",
        "uid",
        "xattrs",
    )
    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    real_size: int
    mtime_ns: int
    link: bytes
    major: int
    minor: int
    xattrs: dict[str, bytes] | None
    sparse: list[tuple[int, int]] | None


class Stream:
    """The archive's bytes, as they come: `next_chunk` returns b"" at the end."""

    __slots__ = ("_chunk", "_next", "_position", "offset")

    def __init__(self, next_chunk: Callable[[], bytes]) -> None:
        self._next = next_chunk
        self._chunk = b""
        self._position = 0
        self.offset = 0

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes, or b"" at the very end. Raises Corrupt when the archive breaks off."""
        position = self._position
        end = position + count
        if end <= len(self._chunk):
            self._position = end
            self.offset += count
            return self._chunk[position:end]
        parts = []
        missing = count
        while missing:
            piece = self._chunk[self._position : self._position + missing]
            if piece:
                parts.append(piece)
                self._position += len(piece)
                missing -= len(piece)
            else:
                self._chunk, self._position = self._next(), 0
                if not self._chunk:
                    if missing == count:
                        return b""
                    raise broken("the archive breaks off")
        self.offset += count
        return b"".join(parts)

    def pieces(self, count: int) -> Iterator[memoryview]:
        """`count` bytes as views of the chunks they came in: nothing is copied."""
        while count:
            left = len(self._chunk) - self._position
            if not left:
                self._chunk, self._position = self._next(), 0
                left = len(self._chunk)
                if not left:
                    raise broken("the archive breaks off within a file")
            step = left if left < count else count
            view = memoryview(self._chunk)[self._position : self._position + step]
            self._position += step
            self.offset += step
            count -= step
            yield view

    def skip(self, count: int) -> None:
        """Pass over bytes."""
        end = self._position + count
        if end <= len(self._chunk):
            self._position = end
            self.offset += count
            return
        for _ in self.pieces(count):
            pass

    def drain(self) -> None:
        """Read to the end: what follows the end mark belongs to the digest too."""
        while self._chunk:
            self.offset += len(self._chunk) - self._position
            self._chunk, self._position = self._next(), 0


def broken(why: str) -> errors.Corrupt:
    """The error for an archive that is not one."""
    return errors.Corrupt(f"malformed layer archive: {why}")


def entries(stream: Stream) -> Iterator[Entry]:
    """The members in order. The consumer reads exactly `size` bytes of each from the stream before the next one.

    Global PAX headers are passed over, as other engines do. Raises Corrupt.
    """
    take = stream.take
    pax: list[tuple[str, bytes]] = []
    long_name = long_link = None
    while True:
        header = take(BLOCK)
        if not header:
            return
        if header == _ZERO:
            stream.drain()
            return
        kind = header[156:157]
        if kind in _KNOWN or kind in (b"\0", b"7", b"S"):
            entry = _member(stream, header, pax, long_name, long_link)
            pax, long_name, long_link = [], None, None
            yield entry
            stream.skip(-entry.size % BLOCK)
            continue
        _check_sum(header)
        size = _number(header[124:136], "size")
        if kind == b"V":  # a volume's label
            stream.skip(size + -size % BLOCK)
            continue
        if kind not in (b"x", b"X", b"g", b"L", b"K"):
            raise broken(f"entry type {kind!r}")
        if size > MAX_EXTENSION:
            raise broken(f"an extended header of {size} bytes, more than {MAX_EXTENSION}")
        body = take(size)
        if len(body) != size:
            raise broken("the archive breaks off")
        stream.skip(-size % BLOCK)
        if kind in (b"x", b"X"):
            pax = _pax_records(body)
        elif kind == b"L":
            long_name = body.partition(b"\0")[0]
        elif kind == b"K":
            long_link = body.partition(b"\0")[0]


def _member(
    stream: Stream,
    header: bytes,
    pax: list[tuple[str, bytes]],
    long_name: bytes | None,
    long_link: bytes | None,
) -> Entry:
    _check_sum(header)
    name, mode, uid, gid, size, mtime, _, kind, link, magic, _, _, major, minor, prefix, _ = _unpack(header)
    entry = Entry()
    name = name.partition(b"\0")[0]
    if magic == b"ustar\x0000" and prefix[0]:
        name = prefix.partition(b"\0")[0] + b"/" + name
    entry.name = name if long_name is None else long_name
    entry.link = link.partition(b"\0")[0] if long_link is None else long_link
    # Most members of an archive share these four with others: reading them anew is a fifth of the parsing.
    found = _read.get(header[100:124] + mtime)
    if found is None:
        found = (
            _number(mode, "mode") & 0o7777,
            _number(uid, "uid"),
            _number(gid, "gid"),
            _signed(mtime) * 1_000_000_000,
        )
        if len(_read) < _MAX_READ:
            _read[header[100:124] + mtime] = found
    entry.mode, entry.uid, entry.gid, entry.mtime_ns = found
    entry.size = _number(size, "size")
    entry.major = entry.minor = 0
    entry.xattrs = entry.sparse = None
    entry.real_size = -1
    if kind in (b"\0", b"7"):
        kind = DIRECTORY if kind == b"\0" and entry.name[-1:] == b"/" else REGULAR
    elif kind in (CHARACTER, BLOCK_DEVICE):
        entry.major, entry.minor = _number(major, "major"), _number(minor, "minor")
    sparse_old = kind == b"S"
    entry.kind = REGULAR if sparse_old else kind
    if pax:
        _apply_pax(entry, pax)
    if entry.kind in _WITHOUT_DATA:
        entry.size = 0  # whatever the header says, no data follows
    elif sparse_old:
        _sparse_gnu(stream, header, entry)
    elif pax:
        _sparse_pax(stream, entry, pax)
    if entry.real_size < 0:
        entry.real_size = entry.size
    if entry.uid > MAX_ID or entry.gid > MAX_ID:
        raise broken(f"owner {entry.uid}:{entry.gid} of {entry.name!r} is out of range (CVE-2024-40635)")
    return entry


def _check_sum(header: bytes) -> None:
    """The header's checksum: the sum of its bytes with the checksum's own place read as blanks.

    Adler-32's lower half is the sum of all bytes plus one modulo 65521, in C: an own loop would take a third of
    the parsing time. A damaged header that differs by a multiple of 65521 would pass; the digest would not.
    """
    field = header[148:156]
    stated = _number(field, "checksum")
    if (stated - 256 + sum(field) + 1) % 65521 != zlib.adler32(header) & 0xFFFF:
        signed = sum(byte - 256 if byte > 127 else byte for byte in header[:148] + header[156:]) + 256
        if signed != stated:  # some old writers summed signed characters
            raise broken("a header's checksum is wrong")


def _number(field: bytes, what: str) -> int:
    """An octal number, or base-256 with the first bit set. Raises Corrupt when negative or malformed."""
    if field[0] & 0x80:
        value = _base256(field)
        if value < 0:
            raise broken(f"negative {what}")
        return value
    digits = field.partition(b"\0")[0].strip()
    if not digits:
        return 0
    try:
        value = int(digits, 8)
    except ValueError:
        raise broken(f"{what} {digits!r} is not octal") from None
    if value < 0:
        raise broken(f"negative {what}")
    return value


def _signed(field: bytes) -> int:
    if field[0] & 0x80:
        return _base256(field)
    digits = field.partition(b"\0")[0].strip()
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise broken(f"time {digits!r} is not octal") from None


def _base256(field: bytes) -> int:
    if field[0] == 0xFF:
        return int.from_bytes(field, "big", signed=True)
    return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")


def _pax_records(body: bytes) -> list[tuple[str, bytes]]:
    """`<length> <key>=<value>\\n` records, in order."""
    records: list[tuple[str, bytes]] = []
    position = 0
    while position < len(body):
        blank = body.find(b" ", position, position + 20)
        digits = body[position:blank] if blank > 0 else b""
        if not digits.isdigit():
            raise broken("a PAX record without length")
        end = position + int(digits)
        key, equals, value = body[blank + 1 : end - 1].partition(b"=")
        if end > len(body) or end <= blank + 1 or not equals or body[end - 1 : end] != b"\n":
            raise broken("a PAX record of wrong length")
        records.append((key.decode("utf-8", "surrogateescape"), value))
        position = end
    return records


def _apply_pax(entry: Entry, pax: list[tuple[str, bytes]]) -> None:
    for key, value in pax:
        if key == "path":
            entry.name = value
        elif key == "linkpath":
            entry.link = value
        elif key == "size":
            entry.size = _decimal(value, key)
        elif key == "uid":
            entry.uid = _decimal(value, key)
        elif key == "gid":
            entry.gid = _decimal(value, key)
        elif key == "mtime":
            entry.mtime_ns = _time(value)
        elif key.startswith("SCHILY.xattr."):
            if entry.xattrs is None:
                entry.xattrs = {}
            entry.xattrs[key[13:]] = value
        elif key == "GNU.sparse.name":
            entry.name = value
    if b"\0" in entry.name or b"\0" in entry.link:
        raise broken(f"a name with NUL: {entry.name[:80]!r}")


def _decimal(value: bytes, key: str) -> int:
    if not value.isdigit() or len(value) > 20:
        raise broken(f"PAX {key} {value[:40]!r} is not a number")
    return int(value)


def _time(value: bytes) -> int:
    """Decimal seconds with a fraction, to nanoseconds."""
    whole, _, fraction = value.partition(b".")
    negative = whole.startswith(b"-")
    digits = whole.lstrip(b"-")
    if not (digits or b"0").isdigit() or not (fraction or b"0").isdigit() or len(value) > 40:
        raise broken(f"PAX mtime {value[:40]!r} is not a time")
    nanoseconds = int(digits or b"0") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if negative else nanoseconds


def _sparse_gnu(stream: Stream, header: bytes, entry: Entry) -> None:
    """Type S: four pieces in the header, 21 in each block that follows while `isextended` says so."""
    pieces: list[tuple[int, int]] = []
    block, start, count, flag = header, 386, 4, 482
    entry.real_size = _number(header[483:495], "real size")
    while True:
        for index in range(count):
            at = start + 24 * index
            if not block[at] or not block[at + 12]:
                break
            pieces.append((_number(block[at : at + 12], "offset"), _number(block[at + 12 : at + 24], "length")))
        if len(pieces) > MAX_SPARSE:
            raise broken("too many pieces of a sparse file")
        if not block[flag]:
            break
        block, start, count, flag = stream.take(BLOCK), 0, 21, 504
        if not block:
            raise broken("the archive breaks off")
    entry.sparse = pieces
    _check_sparse(entry)


def _sparse_pax(stream: Stream, entry: Entry, pax: list[tuple[str, bytes]]) -> None:
    """PAX sparse files: 0.0 (a pair of records a piece), 0.1 (one map), 1.0 (the map precedes the data)."""
    keys = dict(pax)
    if not any(key.startswith("GNU.sparse.") for key in keys):
        return
    numbers: list[int] = []
    if keys.get("GNU.sparse.major") == b"1" and keys.get("GNU.sparse.minor") == b"0":
        entry.real_size = _decimal(keys.get("GNU.sparse.realsize", b""), "GNU.sparse.realsize")
        numbers = _leading_map(stream, entry)
    elif "GNU.sparse.map" in keys:
        entry.real_size = _decimal(keys.get("GNU.sparse.size", b""), "GNU.sparse.size")
        numbers = [_decimal(part, "GNU.sparse.map") for part in keys["GNU.sparse.map"].split(b",") if part]
    elif "GNU.sparse.size" in keys:
        entry.real_size = _decimal(keys["GNU.sparse.size"], "GNU.sparse.size")
        numbers = [_decimal(v, k) for k, v in pax if k in ("GNU.sparse.offset", "GNU.sparse.numbytes")]
    else:
        return
    if len(numbers) % 2 or len(numbers) > 2 * MAX_SPARSE:
        raise broken("the map of a sparse file")
    entry.sparse = list(zip(numbers[::2], numbers[1::2], strict=True))
    _check_sparse(entry)


def _leading_map(stream: Stream, entry: Entry) -> list[int]:
    """Decimal numbers, one a line, in whole blocks before the data: their count first."""
    parts: list[bytes] = []
    lines, wanted = 0, None
    while wanted is None or lines < wanted:
        block = stream.take(BLOCK) if entry.size >= BLOCK else b""
        if not block:
            raise broken("the map of a sparse file breaks off")
        entry.size -= BLOCK
        parts.append(block)
        lines += block.count(b"\n")
        if wanted is None and lines:
            wanted = 1 + 2 * _decimal(b"".join(parts).partition(b"\n")[0], "sparse map")
        if (wanted or 0) > 2 * MAX_SPARSE or len(parts) > 2 * MAX_SPARSE:
            raise broken("too many pieces of a sparse file")
    return [_decimal(line, "sparse map") for line in b"".join(parts).split(b"\n")[1:wanted]]


def _check_sparse(entry: Entry) -> None:
    """Pieces in order, apart, within the file, and as much data as the archive holds."""
    end = total = 0
    for offset, length in entry.sparse or ():
        if offset < end:
            raise broken(f"pieces of the sparse file {entry.name!r} overlap")
        end = offset + length
        total += length
    if end > entry.real_size or total != entry.size or entry.real_size >= 1 << 63:
        raise broken(f"the map of the sparse file {entry.name!r} does not fit its data")
