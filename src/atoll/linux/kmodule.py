"""Modules of the running kernel (finit_module(2)).

Holds: `load`. Does not hold: which ones are needed (`guest/setup.py`), what they depend on.
"""

from __future__ import annotations

import errno
import os

from atoll.linux.libc import SYS_finit_module, syscall


def load(path: str) -> None:
    """Load the module in a file; one that is there is fine. Raises OSError: EPERM without CAP_SYS_MODULE, ENOENT for
    symbols of a module that is not loaded."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscall(SYS_finit_module, fd, b"", 0, subject=path)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    finally:
        os.close(fd)
