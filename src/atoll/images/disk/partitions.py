"""The partitions of a disk: GPT, else MBR with its chain of logical ones, else none.

Holds: `Partition`, `partitions`. Does not hold: what is in them. Source: UEFI specification, "GUID Partition Table
(GPT) Disk Layout"; The Discoverable Partitions Specification (UAPI group) for the types of roots.
"""

from __future__ import annotations

import uuid
from struct import unpack_from

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.images.disk.medium import Medium

SECTOR = 512
_ENTRIES_MAX, _LOGICAL_MAX = 1024, 64
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = 0xEE
ROOTS = frozenset(
    (
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",  # x86-64
        "b921b045-1df0-41c3-af44-4c6f280d3fae",  # aarch64
        "44479540-f297-41b2-9af7-d131d5f0458a",  # x86
        "69dad710-2ce4-4e3c-b16c-21a1d49abed3",  # arm
        "72ec70a6-cf74-40e6-bd49-4bda08e8f224",  # riscv64
    )
)


class Partition(Value):
    """Where one is, in bytes; `number` as the kernel counts them (0: the whole disk); `root`: its type says that it
    is a root."""

    number: int
    start: int
    size: int
    root: bool = False


def partitions(medium: Medium) -> list[Partition]:
    """Those of a disk; the whole of it where it has no table. Raises Corrupt for one that leads out of the disk."""
    if medium.size < 2 * SECTOR:
        raise errors.Corrupt("the disk is too small to hold anything")
    first = medium.read(0, SECTOR)
    whole = [Partition(number=0, start=0, size=medium.size)]
    if first[510:512] != b"\x55\xaa":
        return whole
    kinds = [first[446 + 16 * index + 4] for index in range(4)]
    if _PROTECTIVE in kinds:
        return _gpt(medium)
    if not any(kinds):
        return whole
    found = _mbr(medium, first)
    return found or whole


def _gpt(medium: Medium) -> list[Partition]:
    sector = next((size for size in (SECTOR, 4096) if _is_header(medium, size)), 0)
    if not sector:
        raise errors.Corrupt("the disk has no partition table where its first sector says that there is one")
    table, count, size = unpack_from("<QII", medium.read(sector, 92), 72)
    if not 128 <= size <= 4096 or count > _ENTRIES_MAX:
        raise errors.Corrupt("the disk's partition table is out of bounds")
    data = medium.read(table * sector, count * size)
    found = []
    for index in range(count):
        kind = data[index * size : index * size + 16]
        first, last = unpack_from("<QQ", data, index * size + 32)
        if kind.strip(b"\0"):
            root = str(uuid.UUID(bytes_le=kind)) in ROOTS
            found.append(_checked(medium, index + 1, first * sector, (last + 1 - first) * sector, root=root))
    return found


def _is_header(medium: Medium, sector: int) -> bool:
    return medium.size >= 2 * sector and medium.read(sector, 8) == b"EFI PART"


def _mbr(medium: Medium, first: bytes) -> list[Partition]:
    found, extended = [], 0
    for index in range(4):
        kind, start, count = _entry(first, index)
        if kind in _EXTENDED:
            extended = extended or start
        elif kind and count:
            found.append(_checked(medium, index + 1, start * SECTOR, count * SECTOR))
    at = extended
    for number in range(_LOGICAL_MAX if extended else 0):
        table = medium.read(at * SECTOR, SECTOR)
        kind, start, count = _entry(table, 0)
        if kind and count:
            found.append(_checked(medium, 5 + number, (at + start) * SECTOR, count * SECTOR))
        following, start, _ = _entry(table, 1)
        if following not in _EXTENDED or not start:
            break
        at = extended + start
    return found


def _entry(table: bytes, index: int) -> tuple[int, int, int]:
    start, count = unpack_from("<II", table, 446 + 16 * index + 8)
    return table[446 + 16 * index + 4], start, count


def _checked(medium: Medium, number: int, start: int, size: int, *, root: bool = False) -> Partition:
    if size <= 0 or start + size > medium.size:
        raise errors.Corrupt(f"partition {number} leads out of the disk")
    return Partition(number=number, start=start, size=size, root=root)
