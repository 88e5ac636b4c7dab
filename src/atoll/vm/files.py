"""Copying files with holes: disks and memories are mostly that. Holds nothing else."""

from __future__ import annotations

import os

from atoll.base import files
from atoll.base.rollback import Rollback


def copy_sparse(source: str, target: str) -> None:
    """Copy a file's data, leaving its holes; 0600. Raises OSError."""
    with Rollback() as undo:
        read = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        undo.push(os.close, read)
        write = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(write, os.fstat(read).st_size)
            copy_data(read, write)
        except BaseException:
            files.unlink_if_present(target)
            raise
        finally:
            os.close(write)


def copy_data(read: int, write: int) -> None:
    """The data of one descriptor's file to the same places of another's. Raises OSError."""
    position = 0
    while True:
        try:
            position = os.lseek(read, position, os.SEEK_DATA)
        except OSError:  # ENXIO: holes up to the end
            return
        until = os.lseek(read, position, os.SEEK_HOLE)
        os.lseek(write, position, os.SEEK_SET)
        while position < until:
            position += os.sendfile(write, read, position, until - position)
