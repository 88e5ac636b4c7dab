"""The bytes of a disk, whatever its file is: raw, or qcow2 (`qcow2.py`).

Holds: `Medium`, `opened`. Does not hold: what is on it.
"""

from __future__ import annotations

import os
import stat

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

QCOW2 = b"QFI\xfb"
_OTHERS = (
    (b"KDMV", "a VMDK"),
    (b"COWD", "a VMDK"),
    (b"# Disk DescriptorFile", "a VMDK"),
    (b"vhdxfile", "a VHDX"),
    (b"conectix", "a VHD"),
    (b"<<< ", "a VDI"),
    (b"QED\0", "a QED"),
    (b"\x1f\x8b", "compressed (gzip)"),
    (b"\xfd7zXZ", "compressed (xz)"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd)"),
    (b"BZh", "compressed (bzip2)"),
)


class Medium:
    """A raw disk: the file itself. Owns its descriptor."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd, self.size = fd, size

    def read(self, offset: int, count: int) -> bytes:
        """Exactly so many bytes. Raises Corrupt beyond the end, OSError."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise errors.Corrupt(f"the disk ends at {self.size} and is to be read at {offset}")
        return self._read(offset, count)

    def _read(self, offset: int, count: int) -> bytes:
        data = os.pread(self.fd, count, offset)
        return data + bytes(count - len(data))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)


def opened(path: str) -> Medium:
    """The disk in a file. Raises NotFound, Denied, InvalidArgument for what is no file, Unsupported naming what it
    is, Corrupt."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise errors.from_os_error(error, f"open {path}") from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise errors.InvalidArgument(f"{path} is not a regular file", hint="a raw or qcow2 disk is expected")
        start = os.pread(fd, 64, 0)
        for magic, what in _OTHERS:
            if start.startswith(magic):
                raise errors.Unsupported(
                    f"{path} is {what}, no raw or qcow2 disk", hint="decompress it, or qemu-img convert -O raw"
                )
        if start.startswith(QCOW2):
            from atoll.images.disk.qcow2 import Qcow2

            return Qcow2(fd, found.st_size)
        return Medium(fd, found.st_size)
    except BaseException:
        os.close(fd)
        raise
