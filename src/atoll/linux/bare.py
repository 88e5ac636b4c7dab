"""A few mount calls without `ctypes`, whose import takes longer than they do: on the C module underneath alone.

Holds: `read_only_overlay`. Does not hold: error numbers (the C library's are out of reach here): who wants to know
why a call failed does it again with `mount.py`. Private to CPython, stable since 3.0; elsewhere the import fails.
"""

from __future__ import annotations

import _ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # one numbering on all architectures
_SET_STRING, _CMD_CREATE, _CLOEXEC, _ATTR_RDONLY = 1, 6, 1, 1
_syscall = _ctypes.dlsym(_ctypes.dlopen(None, 0), "syscall")  # type: ignore[arg-type]


def _call(*args: Any) -> int:
    result: int = _ctypes.call_function(_syscall, args)
    if result < 0:
        raise OSError("a system call failed")
    return result


def _mount(fstype: bytes, options: tuple[tuple[bytes, str], ...], attributes: int) -> int:
    context = _call(_FSOPEN, fstype, _CLOEXEC)
    for key, value in options:
        _call(_FSCONFIG, context, _SET_STRING, key, value.encode() + b"\0", 0)
    _call(_FSCONFIG, context, _CMD_CREATE, None, None, 0)
    return _call(_FSMOUNT, context, _CLOEXEC, attributes)


def read_only_overlay(directory: str) -> int:
    """A detached overlay of a directory and an empty one, without upper layer (Linux 6.8). Raises OSError without a
    number; what is open then stays so: the caller is about to execute another program, or to end."""
    empty = _mount(b"tmpfs", ((b"size", "4096"), (b"nr_inodes", "1")), _ATTR_RDONLY)
    layers = ((b"source", "overlay"), (b"lowerdir+", directory), (b"lowerdir+", f"/proc/self/fd/{empty}"))
    return _mount(b"overlay", layers, 0)
