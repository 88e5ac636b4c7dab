"""The root file system on a disk, as an archive: found, read, and never mounted. Start reading at `write`.

Holds: `write`, `find_root`. Does not hold: the formats (the other modules here), the image that it becomes.
The root is the partition whose type says so, else the one file system of ext2, ext3 or ext4 that looks like one.
Bounds: no directory twice, and in all as many bytes as the file system has, holes of files included: an archive is no
larger than the disk that it is of.
"""

from __future__ import annotations

import stat

from atoll.base import errors
from atoll.images.disk.ext4 import MAGIC, ROOT, Ext4, Inode
from atoll.images.disk.medium import opened
from atoll.images.disk.partitions import partitions
from atoll.snapshots import tar
from atoll.snapshots.packing import Member, headers, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.images.disk.medium import Medium
    from atoll.images.disk.partitions import Partition

DIRECTORY_MAX = 256 << 20
PATH_MAX = 4096
_SIGNS = (b"etc", b"usr")
_OTHERS = (
    (0, b"XFSB", "xfs"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0, b"LUKS\xba\xbe", "encrypted (LUKS)"),
    (512, b"LABELONE", "of LVM"),
    (0, b"hsqs", "squashfs"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs"),
    (1024, b"\x10\x20\xf5\xf2", "f2fs"),
    (54, b"FAT", "vfat"),
    (82, b"FAT32", "vfat"),
    (3, b"NTFS", "ntfs"),
    (4086, b"SWAPSPACE2", "swap"),
)


def write(path: str, out: Callable[[bytes], object]) -> int:
    """Write the root on the disk in `path` to `out` as a tar archive; how many entries. Raises NotFound,
    InvalidArgument, Unsupported naming what is not understood, Corrupt."""
    with opened(path) as medium:
        return _Writing(find_root(medium), out).all()


def find_root(medium: Medium) -> Ext4:
    """The root file system of a disk. Raises Unsupported with what there is instead, Corrupt."""
    seen, found = [], []
    for one in partitions(medium):
        kind = _kind(medium, one)
        seen.append(f"{f'partition {one.number}' if one.number else 'the disk'}: {kind}")
        if kind != "ext4":
            if one.root:
                raise errors.Unsupported(f"the root, partition {one.number}, is {kind}: only ext2, 3 and 4 are read")
            continue
        system = Ext4(medium, one.start, one.size)
        names = {name for name, _ in system.names(system.inode(ROOT), DIRECTORY_MAX)}
        if one.root or all(sign in names for sign in _SIGNS):
            found.append((not one.root, one.number, system))
    if not found:
        raise errors.Unsupported(
            f"no root file system that can be read is on this disk ({', '.join(seen) or 'it is empty'})",
            hint="ext2, ext3 or ext4 with /etc and /usr, whole or in a partition of GPT or MBR",
        )
    found.sort(key=lambda entry: entry[:2])
    if len(found) > 1 and found[0][0] == found[1][0]:
        numbers = " and ".join([str(number) for _, number, _ in found])
        raise errors.Unsupported(f"several partitions look like a root: {numbers}")
    return found[0][2]


def _kind(medium: Medium, one: Partition) -> str:
    def has(offset: int, magic: bytes) -> bool:
        end = offset + len(magic)
        return end <= one.size and medium.read(one.start + offset, len(magic)) == magic

    if has(1024 + 56, MAGIC.to_bytes(2, "little")):
        return "ext4"
    return next((name for offset, magic, name in _OTHERS if has(offset, magic)), "unknown")


class _Writing:
    """One archive under way."""

    def __init__(self, system: Ext4, out: Callable[[bytes], object]) -> None:
        self._system, self._out = system, out
        self._linked: dict[int, bytes] = {}
        self._directories: set[int] = set()
        self._entries = 0
        self._room = system.size

    def all(self) -> int:
        root = self._system.inode(ROOT)
        waiting = [(b"./", root)]
        while waiting:
            path, inode = waiting.pop()
            self._directory(path, inode)
            below = []
            for name, number in self._system.names(inode, DIRECTORY_MAX):
                entry = (b"" if path == b"./" else path) + name
                if len(entry) > PATH_MAX:
                    raise errors.Corrupt("the disk has a path that is longer than any may be")
                found = self._system.inode(number)
                if stat.S_ISDIR(found.mode):
                    below.append((entry + b"/", found))
                else:
                    self._file(entry, found)
            waiting += reversed(below)
        self._out(bytes(2 * tar.BLOCK))
        return self._entries

    def _directory(self, path: bytes, inode: Inode) -> None:
        if inode.number in self._directories or not stat.S_ISDIR(inode.mode):
            raise errors.Corrupt(f"the directory {path!r} is in two places")
        self._directories.add(inode.number)
        self._add(path, inode, tar.DIRECTORY)

    def _file(self, path: bytes, inode: Inode) -> None:
        if inode.number in self._linked:
            self._out(headers(Member(name=path, kind=tar.HARDLINK, mode=0o644, link=self._linked[inode.number])))
            return
        kind = kind_of(inode.mode)
        if kind is None:  # sockets have no meaning without their process
            return
        if inode.links > 1:
            self._linked[inode.number] = path
        self._add(path, inode, kind)

    def _add(self, path: bytes, inode: Inode, kind: bytes) -> None:
        size = inode.size if kind == tar.REGULAR else 0
        self._entries += 1
        self._room -= size
        if self._room < 0:
            raise errors.Corrupt(f"the files on the disk are larger than it is, up to {path!r}: files with holes?")
        major, minor = _device(inode) if kind in (tar.CHARACTER, tar.BLOCK_DEVICE) else (0, 0)
        link = self._system.link(inode) if kind == tar.SYMLINK else b""
        if kind == tar.SYMLINK and (not link or b"\0" in link):
            raise errors.Corrupt(f"the symbolic link {path!r} leads nowhere that has a name")
        attributes = self._system.xattrs(inode) if kind in (tar.REGULAR, tar.DIRECTORY) else {}
        kept = [(name, value) for name, value in sorted(attributes.items()) if _stays(name)]
        self._out(
            headers(
                Member(
                    name=path,
                    kind=kind,
                    mode=0o777 if kind == tar.SYMLINK else stat.S_IMODE(inode.mode),
                    uid=inode.uid,
                    gid=inode.gid,
                    size=size,
                    mtime=inode.mtime,
                    link=link,
                    major=major,
                    minor=minor,
                    xattrs=tuple(kept),
                )
            )
        )
        if size:
            for data in self._system.content(inode):
                self._out(data)
            self._out(bytes(-size % tar.BLOCK))


def _stays(name: str) -> bool:
    """The attributes that a layer may carry (`snapshots/apply.py` says why no others)."""
    return name == "security.capability" or (name.startswith("user.") and not name.startswith("user.overlay."))


def _device(inode: Inode) -> tuple[int, int]:
    """Device numbers as the kernel has them in an inode: the old form, or the new one behind it."""
    old, new = int.from_bytes(inode.block[:4], "little"), int.from_bytes(inode.block[4:8], "little")
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    return (new >> 8) & 0xFFF, (new & 0xFF) | (new >> 12 & 0xFFF00)
