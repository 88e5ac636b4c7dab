"""`Root`: the only way to touch a path inside a container's root.

Holds: the handle and its operations, on openat2(2) with RESOLVE_IN_ROOT, so that no symbolic link, no `..` and no
exchange of a component meanwhile leads outside (CVE-2021-30465, CVE-2018-15664, CVE-2024-1753).
Does not hold: what to create where. Joining strings under a root is forbidden in all rooms.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from atoll.linux.libc import SYS_openat2, encoded, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_LINKS = 16
_TRIES = 128  # EAGAIN: a rename or mount elsewhere raced with the look-up (openat2(2), "EAGAIN")


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def openat2(dir_fd: int, path: str, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2), close-on-exec. Tries again on EAGAIN, a bounded number of times. Raises OSError with the path."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    raw = encoded(path)
    for attempt in range(_TRIES):
        try:
            return syscall(SYS_openat2, dir_fd, raw, ctypes.byref(how), ctypes.sizeof(how), subject=path)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR) or attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


class Root:
    """A directory as the root of all paths given to it: `/etc`, `etc` and `../etc` mean the same place in it.

    Owns its descriptor. Every method returns close-on-exec descriptors, owned by the caller, and raises OSError.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def open(cls, path: str) -> Self:
        """A handle on a directory of the host."""
        return cls(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def close(self) -> None:
        """Give up the handle; closing twice is fine."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open_at(self, path: str, flags: int = os.O_PATH, *, mode: int = 0) -> int:
        """Open a path in the root; links are followed, but never out of it, and no magic link of procfs."""
        return openat2(self.fd, path, flags, mode=mode, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """A regular file's content; EFBIG past `limit` bytes, EINVAL for anything but a regular file."""
        fd = self.open_at(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            parts, total = [], 0
            while chunk := os.read(fd, 65536):
                total += len(chunk)
                if total > limit:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
                parts.append(chunk)
            return b"".join(parts)
        finally:
            os.close(fd)

    def make_directories(self, path: str, mode: int = 0o755) -> int:
        """An O_PATH descriptor of a directory, made with all its parents where missing (mkdir -p in the root).

        Each component is made relative to the descriptor of the one before; one that is a link is followed as the
        container would. A dangling link raises ENOENT, as nothing must be created at a place nobody named.
        """
        try:
            return self.open_at(path, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            pass
        done = ""
        current = os.dup(self.fd)
        try:
            for part in [p for p in path.split("/") if p and p != "."]:
                if part == "..":
                    raise OSError(errno.EINVAL, "'..' in a path that must be created", path)
                done = f"{done}/{part}"
                try:
                    os.mkdir(part, mode, dir_fd=current)
                except FileExistsError:
                    pass
                following = self.open_at(done, os.O_PATH | os.O_DIRECTORY)
                os.close(current)
                current = following
            return os.dup(current)
        except OSError as error:
            error.filename = path
            raise
        finally:
            os.close(current)

    def make_file(self, path: str, mode: int = 0o644) -> int:
        """An O_PATH descriptor of a file, made empty with its parents where missing, as a target for a bind mount.

        A dangling link is followed inside the root and its target made (an image's `/etc/resolv.conf` often points
        into a `/run` that is still empty).
        """
        for _ in range(_LINKS):
            try:
                return self.open_at(path)
            except FileNotFoundError:
                pass
            parent, _, name = path.rstrip("/").rpartition("/")
            parent_fd = self.make_directories(parent or "/")
            try:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                try:
                    os.close(os.open(name, flags, mode, dir_fd=parent_fd))
                    return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
                except FileExistsError:
                    link = os.readlink(name, dir_fd=parent_fd)
            finally:
                os.close(parent_fd)
            path = link if link.startswith("/") else f"{parent}/{link}"
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
