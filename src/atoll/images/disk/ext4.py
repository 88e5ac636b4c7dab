"""Reading an ext2, ext3 or ext4 file system: directories, contents, links, attributes.

Holds: `Ext4`, `Inode`. Does not hold: which one is read (`archive.py`), writing, repair.
Every number is somebody else's: offsets are checked against the partition, trees are bounded in depth, and what is
read twice that may be there once is an error (`archive.py`). Refused by name: one that was not unmounted cleanly, as
its journal would have to be replayed; encryption; what came after this was written.
Source: Documentation/filesystems/ext4/ of Linux.
"""

from __future__ import annotations

from struct import unpack_from

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.images.disk.medium import Medium

MAGIC = 0xEF53
ROOT = 2
_UNCLEAN, _BIT64 = 0x4, 0x80
# filetype, unclean, extents, 64bit, mmp, flex_bg, csum_seed, largedir, inline_data, casefold
_KNOWN = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x2000 | 0x4000 | 0x8000 | 0x20000
_UNKNOWN = {0x1: "compression", 0x8: "a journal's device", 0x10: "meta_bg", 0x400: "ea_inode", 0x10000: "encryption"}
_EXTENTS, _INLINE, _ENCRYPTED = 0x80000, 0x10000000, 0x800
_DEPTH_MAX = 5
_NODES = 16
"""Nodes of a map of extents that may be empty: there are no more of the others than blocks."""
_XATTR = 0xEA020000
_PREFIXES = {1: b"user.", 4: b"trusted.", 6: b"security."}
CHUNK = 1 << 20


class Inode(Value):
    """A file as its inode says; `block` is what stands where its map does."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    links: int
    flags: int
    block: bytes
    attributes: int
    extra: bytes


class Ext4:
    """The file system in `size` bytes of a medium, from `start` on. Raises Unsupported by name, Corrupt."""

    def __init__(self, medium: Medium, start: int, size: int) -> None:
        self._medium, self._start, self._end = medium, start, size
        self._nodes = 0
        sb = self._bytes(1024, 1024)
        (blocks, first, log) = (unpack_from("<I", sb, 4)[0], *unpack_from("<II", sb, 20))
        incompat = unpack_from("<I", sb, 96)[0]
        _refuse(incompat)
        if log > 6:
            raise errors.Corrupt("the file system's blocks are larger than any")
        self.block = 1024 << log
        self._inodes, self._per_group = unpack_from("<I", sb, 0)[0], unpack_from("<I", sb, 40)[0]
        revision = unpack_from("<I", sb, 76)[0]
        self._inode_size = unpack_from("<H", sb, 88)[0] if revision else 128
        wide = incompat & _BIT64
        self._descriptor = unpack_from("<H", sb, 254)[0] if wide else 32
        if wide:
            blocks |= unpack_from("<I", sb, 336)[0] << 32
        self.size = blocks * self.block
        if (
            not 128 <= self._inode_size <= self.block
            or not self._per_group
            or not 32 <= self._descriptor <= self.block
            or self.size > size
        ):
            raise errors.Corrupt("the file system's first block contradicts itself")
        self._descriptors = (first + 1) * self.block

    def _bytes(self, offset: int, count: int) -> bytes:
        if offset < 0 or offset + count > self._end:
            raise errors.Corrupt("the file system leads out of its partition")
        return self._medium.read(self._start + offset, count)

    # -- inodes

    def inode(self, number: int) -> Inode:
        """One by its number. Raises Corrupt."""
        if not 1 <= number <= self._inodes:
            raise errors.Corrupt(f"the file system has no inode {number}")
        group, index = divmod(number - 1, self._per_group)
        about = self._bytes(self._descriptors + group * self._descriptor, self._descriptor)
        table = unpack_from("<I", about, 8)[0]
        if self._descriptor >= 64:
            table |= unpack_from("<I", about, 40)[0] << 32
        raw = self._bytes(table * self.block + index * self._inode_size, self._inode_size)
        mode, uid, size, _, _, mtime, _, gid, links = unpack_from("<HHIIIIIHH", raw, 0)
        flags = unpack_from("<I", raw, 32)[0]
        attributes, high = unpack_from("<II", raw, 104)
        attributes |= unpack_from("<H", raw, 118)[0] << 32
        uid |= unpack_from("<H", raw, 120)[0] << 16
        gid |= unpack_from("<H", raw, 122)[0] << 16
        extra = b""
        if self._inode_size > 128:
            extra = raw[128:]
            if unpack_from("<H", extra, 0)[0] >= 12:  # more bits of the time, below which the nanoseconds are
                mtime |= (unpack_from("<I", extra, 8)[0] & 3) << 32
        if flags & _ENCRYPTED:
            raise errors.Unsupported("the file system holds encrypted files")
        return Inode(
            number=number,
            mode=mode,
            uid=uid,
            gid=gid,
            size=size | high << 32,
            mtime=mtime,
            links=links,
            flags=flags,
            block=raw[40:100],
            attributes=attributes,
            extra=extra,
        )

    # -- contents

    def content(self, inode: Inode) -> Iterator[bytes]:
        """All of a file's bytes, holes as zeros, chunk by chunk. Raises Corrupt."""
        left = inode.size
        for data in self._pieces(inode):
            if not left:
                return
            yield data[:left]
            left -= min(left, len(data))
        while left:
            yield bytes(min(left, CHUNK))
            left -= min(left, CHUNK)

    def whole(self, inode: Inode, most: int) -> bytes:
        """All of a small file. Raises Corrupt for a larger one."""
        if inode.size > most:
            raise errors.Corrupt(f"inode {inode.number} is larger than it may be")
        return b"".join(self.content(inode))

    def _pieces(self, inode: Inode) -> Iterator[bytes]:
        if inode.flags & _INLINE:
            yield inode.block + self._inline(inode)
            return
        position = 0
        for logical, physical, count in self._runs(inode):
            if logical < position:
                raise errors.Corrupt(f"the map of inode {inode.number} overlaps itself")
            yield from self._zeros(min(logical * self.block, inode.size) - position * self.block)
            if logical * self.block >= inode.size:
                return
            for at in range(0, count * self.block, CHUNK):
                step = min(CHUNK, count * self.block - at)
                yield self._bytes(physical * self.block + at, step) if physical else bytes(step)
            position = logical + count

    def _zeros(self, count: int) -> Iterator[bytes]:
        while count > 0:
            yield bytes(min(count, CHUNK))
            count -= CHUNK

    def _runs(self, inode: Inode) -> Iterator[tuple[int, int, int]]:
        """(block of the file, block of the file system or 0 for zeros, how many)."""
        if inode.flags & _EXTENTS:
            self._nodes = inode.size // self.block + _NODES
            yield from self._extents(inode.block, _DEPTH_MAX)
            return
        last = -(-inode.size // self.block)
        numbers = unpack_from("<15I", inode.block, 0)
        logical = 0
        for number in numbers[:12]:
            if logical >= last:
                return
            if number:
                yield logical, number, 1
            logical += 1
        for level, number in enumerate(numbers[12:], 1):
            if logical >= last:
                return
            yield from self._indirect(number, level, logical, last)
            logical += (self.block // 4) ** level

    def _indirect(self, number: int, level: int, logical: int, last: int) -> Iterator[tuple[int, int, int]]:
        if not number:
            return
        step = (self.block // 4) ** (level - 1)
        for entry in unpack_from(f"<{self.block // 4}I", self._bytes(number * self.block, self.block)):
            if logical >= last:
                return
            if level > 1:
                yield from self._indirect(entry, level - 1, logical, last)
            elif entry:
                yield logical, entry, 1
            logical += step

    def _extents(self, node: bytes, depth_max: int) -> Iterator[tuple[int, int, int]]:
        magic, count, _, depth = unpack_from("<HHHH", node, 0)
        self._nodes -= 1
        if self._nodes < 0 or magic != 0xF30A or count > (len(node) - 12) // 12 or depth > depth_max:
            raise errors.Corrupt("a map of extents is damaged")
        for index in range(count):
            if depth:
                _, low, high = unpack_from("<IIH", node, 12 + 12 * index)
                yield from self._extents(self._bytes((low | high << 32) * self.block, self.block), depth - 1)
                continue
            logical, length, high, low = unpack_from("<IHHI", node, 12 + 12 * index)
            unwritten = length > 32768
            yield logical, 0 if unwritten else low | high << 32, length - 32768 if unwritten else length

    # -- directories, links, attributes

    def names(self, inode: Inode, most: int) -> Iterator[tuple[bytes, int]]:
        """What is in a directory of at most `most` bytes, but for itself and its parent. Raises Corrupt."""
        if inode.flags & _INLINE:
            yield from self._entries(inode.block[4:])
            yield from self._entries(self._inline(inode))
            return
        data = self.whole(inode, most)
        for at in range(0, len(data), self.block):
            yield from self._entries(data[at : at + self.block])

    def _entries(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        at = 0
        while at + 8 <= len(data):
            number, length, size = unpack_from("<IHB", data, at)
            length = 65536 if length in (0, 65535) and self.block == 65536 else length
            if length < 8 or at + length > len(data) or size + 8 > length:
                if not any(data[at:]):
                    return
                raise errors.Corrupt("a directory is damaged")
            name = data[at + 8 : at + 8 + size]
            if number and name not in (b".", b".."):
                if not name or b"/" in name or b"\0" in name:
                    raise errors.Corrupt(f"a file is called {name!r}")
                yield name, number
            at += length

    def link(self, inode: Inode) -> bytes:
        """Where a symbolic link leads. Raises Corrupt."""
        if inode.size < 60 and not inode.flags & (_EXTENTS | _INLINE):
            return inode.block[: inode.size]
        return self.whole(inode, 4096)

    def xattrs(self, inode: Inode) -> dict[str, bytes]:
        """Extended attributes of the kinds that are somebody's; no POSIX ACLs. Raises Corrupt."""
        found = {}
        if len(inode.extra) > 32:
            at = unpack_from("<H", inode.extra, 0)[0]
            if at + 8 <= len(inode.extra) and unpack_from("<I", inode.extra, at)[0] == _XATTR:
                table = inode.extra[at + 4 :]
                found = dict(_attributes(table, 0, table))
        if inode.attributes:
            block = self._bytes(inode.attributes * self.block, self.block)
            if unpack_from("<I", block, 0)[0] != _XATTR:
                raise errors.Corrupt(f"the attributes of inode {inode.number} are damaged")
            found.update(_attributes(block, 32, block))
        return {name.decode(errors="surrogateescape"): value for name, value in found.items()}

    def _inline(self, inode: Inode) -> bytes:
        """What of inline data does not fit into the map's place: the attribute system.data."""
        if len(inode.extra) > 32:
            at = unpack_from("<H", inode.extra, 0)[0]
            if at + 8 <= len(inode.extra) and unpack_from("<I", inode.extra, at)[0] == _XATTR:
                table = inode.extra[at + 4 :]
                return dict(_attributes(table, 0, table, {7: b"system."})).get(b"system.data", b"")
        return b""


def _attributes(
    table: bytes, at: int, values: bytes, prefixes: dict[int, bytes] = _PREFIXES
) -> Iterator[tuple[bytes, bytes]]:
    """The entries that begin at `at`; values lie by offsets into `values`."""
    while at + 16 <= len(table) and table[at : at + 4] != b"\0\0\0\0":
        length, prefix, offset, elsewhere, size = unpack_from("<BBHII", table, at)
        name = table[at + 16 : at + 16 + length]
        if elsewhere or offset + size > len(values):
            raise errors.Corrupt("an extended attribute is damaged")
        if prefix in prefixes:
            yield prefixes[prefix] + name, values[offset : offset + size]
        at += (16 + length + 3) & ~3


def _refuse(incompat: int) -> None:
    if incompat & _UNCLEAN:
        raise errors.Unsupported(
            "the file system was not unmounted cleanly: its journal is to be replayed",
            hint="boot the disk and shut it down, or run e2fsck on it where you trust it",
        )
    for bit in range(32):
        if incompat >> bit & 1 and not _KNOWN >> bit & 1:
            what = _UNKNOWN.get(1 << bit, f"feature {1 << bit:#x}")
            raise errors.Unsupported(f"an ext4 file system with {what}, which is not read here")
