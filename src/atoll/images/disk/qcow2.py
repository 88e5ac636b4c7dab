"""The bytes of a qcow2 disk that stands for itself.

Holds: `Qcow2`. Does not hold: snapshots in it (the disk as it is now is read), writing. Refused by name: a backing
file, a data file of its own, encryption, extended L2 entries, compression other than zlib's: the first two name files
of the host's, which a hostile disk may choose (CVE-2024-4467 and its like).
Source: docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

import os
import zlib
from struct import unpack, unpack_from

from atoll.base import errors
from atoll.images.disk.medium import Medium

_CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED = 2, 4, 8, 16
_KNOWN = 1 | _COMPRESSION
_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED, _ZERO = 1 << 62, 1
_TABLES_MAX = 64
"""L2 tables in memory at most."""
_CLUSTERS_MAX = 32
"""Unpacked clusters in memory at most, of 2 MiB at most."""
_L1_MAX = 32 << 20
_SIZE_MAX = 64 << 40


class Qcow2(Medium):
    """See the module."""

    def __init__(self, fd: int, file_size: int) -> None:
        self._file_size = file_size
        header = os.pread(fd, 112, 0)
        if len(header) < 72:
            raise errors.Corrupt("the qcow2 disk ends in its header")
        version, backing, _, bits, size, crypt, l1_size, l1_offset = unpack_from(">IQIIQIIQ", header, 4)
        if version not in (2, 3):
            raise errors.Unsupported(f"qcow2 of version {version}", hint="qemu-img convert -O raw")
        _refuse(header, version, backing, crypt)
        if not 9 <= bits <= 21 or size > _SIZE_MAX or l1_size * 8 > _L1_MAX:
            raise errors.Corrupt("the qcow2 disk's header is out of bounds")
        super().__init__(fd, size)
        self._bits, self._cluster = bits, 1 << bits
        self._l2_bits = bits - 3
        data = os.pread(fd, l1_size * 8, l1_offset)
        if len(data) != l1_size * 8 or l1_size << (self._l2_bits + bits) < size:
            raise errors.Corrupt("the qcow2 disk's table of tables is cut off")
        self._l1 = unpack(f">{l1_size}Q", data)
        self._tables: dict[int, tuple[int, ...]] = {}
        self._clusters: dict[int, bytes] = {}

    def _read(self, offset: int, count: int) -> bytes:
        found = []
        while count:
            within = offset & (self._cluster - 1)
            step = min(count, self._cluster - within)
            found.append(self._part(offset >> self._bits, within, step))
            offset, count = offset + step, count - step
        return b"".join(found)

    def _part(self, cluster: int, within: int, count: int) -> bytes:
        entry = self._entry(cluster)
        if entry & _COMPRESSED:
            return self._unpacked(entry)[within : within + count]
        place = entry & _OFFSET
        if not place or entry & _ZERO:
            return bytes(count)
        return self._at(place + within, count)

    def _entry(self, cluster: int) -> int:
        table: int = self._l1[cluster >> self._l2_bits] & _OFFSET
        if not table:
            return 0
        if table not in self._tables:
            if len(self._tables) >= _TABLES_MAX:
                del self._tables[next(iter(self._tables))]
            count = 1 << self._l2_bits
            self._tables[table] = unpack(f">{count}Q", self._at(table, count * 8))
        entry: int = self._tables[table][cluster & ((1 << self._l2_bits) - 1)]
        return entry

    def _at(self, place: int, count: int) -> bytes:
        if place + count > self._file_size + self._cluster:
            raise errors.Corrupt("the qcow2 disk points beyond its end")
        data = os.pread(self.fd, count, place)
        return data + bytes(count - len(data))

    def _unpacked(self, entry: int) -> bytes:
        if entry in self._clusters:
            return self._clusters[entry]
        shift = 62 - (self._bits - 8)
        place = entry & ((1 << shift) - 1)
        sectors = ((entry & (_COMPRESSED - 1)) >> shift) + 1
        packed = self._at(place, sectors * 512 - (place & 511))
        try:
            data = zlib.decompressobj(-12).decompress(packed, self._cluster)
        except zlib.error as error:
            raise errors.Corrupt(f"a compressed cluster of the qcow2 disk is damaged: {error}") from None
        if len(data) != self._cluster:
            raise errors.Corrupt("a compressed cluster of the qcow2 disk is cut off")
        if len(self._clusters) >= _CLUSTERS_MAX:
            del self._clusters[next(iter(self._clusters))]
        self._clusters[entry] = data
        return data


def _refuse(header: bytes, version: int, backing: int, crypt: int) -> None:
    features = unpack_from(">Q", header, 72)[0] if version == 3 else 0
    refused = {
        "stands on another file (a backing file), which is never opened": backing != 0,
        "has its data in another file, which is never opened": bool(features & _DATA_FILE),
        "is encrypted": crypt != 0,
        "has extended L2 entries": bool(features & _EXTENDED),
        "is compressed otherwise than by zlib": bool(features & _COMPRESSION) and header[104:105] != b"\0",
        "is marked as damaged": bool(features & _CORRUPT),
        "has features that are not known here": bool(features & ~(_KNOWN | _CORRUPT | _DATA_FILE | _EXTENDED)),
    }
    for what, so in refused.items():
        if so:
            raise errors.Unsupported(f"the qcow2 disk {what}", hint="qemu-img convert -O raw, where you trust it")
