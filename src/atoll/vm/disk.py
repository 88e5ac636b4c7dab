"""What a machine's container writes, as a disk: a sparse file with an empty ext4, made once a size and copied.

Holds: `make`. Does not hold: where it goes (`engine`), who mounts it (`guest/setup.py`).
It has a journal: a machine may end at any moment, and its disk is to be mounted again.

    <data>/vm/disks/<bytes>.ext4    formatted, never used itself
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.base.rollback import Rollback
from atoll.vm.closure import find_program
from atoll.vm.files import copy_sparse

DEFAULT = 8 << 30
SMALLEST = 16 << 20
JOURNAL = 4 << 20
"""Bytes of the journal: the least that mke2fs(8) makes."""


def make(root: str, path: str, size: int) -> None:
    """A disk of `size` bytes at `path`, which must not be there. Raises Unsupported without mkfs.ext4(8),
    InvalidArgument, OSError."""
    if size < SMALLEST:
        raise errors.InvalidArgument(
            f"a machine's disk has {SMALLEST >> 20} MiB at least", hint="--storage-opt size="
        )
    copy_sparse(_formatted(root, size), path)


def _formatted(root: str, size: int) -> str:
    import subprocess

    path = f"{root}/disks/{size}.ext4"
    if os.path.exists(path):
        return path
    tool = find_program("mkfs.ext4")
    if not tool:
        raise errors.Unsupported("mkfs.ext4 is not here", hint="apt install e2fsprogs, or run with --rm")
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with Rollback() as undo:
        undo.push(files.unlink_if_present, temporary)
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.ftruncate(fd, size)
        os.close(fd)
        words = [tool, "-q", "-F", "-m0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]
        words += ["-J", f"size={JOURNAL >> 20}", temporary]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise errors.Unavailable(f"mkfs.ext4 failed: {done.stderr[-300:].strip()}")
        os.rename(temporary, path)
        undo.release()
    return path
