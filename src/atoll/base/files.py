"""Files that are whole or absent, locks, and removing trees.

Holds: `write_atomic`, `unnamed`, `Pending`, reads, `remove_tree`, `FileLock`. Does not hold: paths inside a
container's root (`linux/root.py` resolves those).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


def read_bytes(path: str) -> bytes:
    """The whole file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(fd, 1 << 20):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def read_text(path: str) -> str:
    """The whole file as UTF-8. Raises OSError, or ValueError on other bytes."""
    return read_bytes(path).decode("utf-8")


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, whatever the kernel takes at a time. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def unnamed(folder: str) -> int:
    """A descriptor of a file in `folder` that has no name, open(2)'s O_TMPFILE: it goes with its last descriptor. Not
    every file system has such: there its name is taken away at once. Raises OSError."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        path = f"{folder}/.{os.getpid()}.{os.urandom(8).hex()}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        return fd


class Pending:
    """A new file, private to its owner, that has no name until it is whole: who is killed while it is written leaves
    nothing (open(2), O_TMPFILE). On a file system without that it is `path` with `.tmp`, which the next one replaces.
    Not for two at once: who makes `path` holds a lock. Raises OSError."""

    def __init__(self, path: str) -> None:
        self.path, self._temporary = path, ""
        folder = os.path.dirname(path) or "."
        try:
            self.fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
                raise
            self._temporary = f"{path}.tmp"
            unlink_if_present(self._temporary)
            how = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self.fd = os.open(self._temporary, how, 0o600)

    def keep(self) -> None:
        """It is whole: written out, and there under its name. Raises OSError (EEXIST: something is there)."""
        os.fsync(self.fd)
        if self._temporary:
            os.rename(self._temporary, self.path)
            self._temporary = ""
        else:  # a number of a directory makes Python call linkat(2), which can follow the link; link(2) cannot
            os.link(f"/proc/self/fd/{self.fd}", self.path, src_dir_fd=self.fd, follow_symlinks=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)
        if self._temporary:
            unlink_if_present(self._temporary)


def write_file(path: str, data: bytes | str, *, flags: int = os.O_WRONLY) -> None:
    """Write into an existing file in one system call, as procfs, sysfs and cgroupfs want it. Raises OSError."""
    content = data.encode() if isinstance(data, str) else data
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.write(fd, content)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def write_atomic(path: str, data: bytes | str, *, mode: int = 0o600, sync: bool = False) -> None:
    """Replace `path` as a whole: readers see the old or the new content, never a part.

    With `sync` the content and the name survive a loss of power. On failure the temporary file is removed.
    Raises OSError.
    """
    content = data.encode() if isinstance(data, str) else data
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(fd, content)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        unlink_if_present(temporary)
        raise
    if sync:
        sync_directory(os.path.dirname(path) or ".")


def sync_directory(path: str) -> None:
    """Make the names in a directory survive a loss of power. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def unlink_if_present(path: str) -> None:
    """Remove a file; one that is not there is fine. Raises OSError otherwise."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


_LAST_WORDS = 20


def remove_tree(path: str) -> None:
    """Remove a directory and all below it without following links; absent is fine, and so is somebody else who
    removes it at the same time, or adds a few files while this goes on.

    Works on descriptors, so that a directory exchanged for a link meanwhile is never followed, and opens up
    directories of our own that lack permission (overlay leaves `work` with mode 000). Raises OSError.
    """
    parent, name = os.path.split(path.rstrip("/"))
    try:
        parent_fd = os.open(parent or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _remove_at(parent_fd, name)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(parent_fd)


def _remove_at(parent_fd: int, name: str) -> None:
    try:
        _remove_entry(parent_fd, name)
    except FileNotFoundError:  # gone between two of the steps
        return


def _remove_entry(parent_fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent_fd)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        # unlink(2) answers EISDIR for a directory on Linux; EPERM is POSIX's word for the same.
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
            raise
    try:
        os.rmdir(name, dir_fd=parent_fd)  # most directories of a fresh container are empty: one call
        return
    except OSError as error:
        if error.errno == errno.ENOENT:
            return
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=parent_fd)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent_fd)
        fd = os.open(name, flags, dir_fd=parent_fd)
    try:
        if not os.fstat(fd).st_mode & stat.S_IWUSR:
            os.fchmod(fd, 0o700)
        for patience in range(_LAST_WORDS, -1, -1):
            for entry in os.listdir(fd):
                _remove_at(fd, entry)
            try:
                os.rmdir(name, dir_fd=parent_fd)
                return
            except OSError as error:  # somebody was just writing his last word beside us
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not patience:
                    raise
    finally:
        os.close(fd)


class FileLock:
    """An advisory lock (flock(2)) on a file that it creates; goes with the process that holds it.

    The file stays: removing it would let two holders lock two files of one name. Never hold one across a fork:
    the copy of the descriptor keeps the lock.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def acquire(self, *, blocking: bool = True, shared: bool = False) -> bool:
        """Take the lock; False if `blocking` is off and somebody else holds it. Raises OSError."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(fd, how if blocking else how | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Give the lock back; releasing twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
