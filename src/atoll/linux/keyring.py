"""Keys that the kernel keeps for a user: keyctl(2), user-keyring(7).

Does not hold: session keyrings (`process.py`).
"""

from __future__ import annotations

import ctypes

from atoll.linux.libc import SYS_keyctl, syscall

_KEYCTL_SEARCH, _KEYCTL_READ = 10, 11
_USER_KEYRING = -4
_MOST = 32767


def read_user_key(name: str) -> bytes:
    """The content of the key of type `user` that is called `name`, in this user's own keyring. Raises OSError
    (ENOKEY: there is none, EACCES)."""
    serial = syscall(SYS_keyctl, _KEYCTL_SEARCH, _USER_KEYRING, b"user", name.encode(), 0, subject=name)
    room = ctypes.create_string_buffer(_MOST)
    length = syscall(SYS_keyctl, _KEYCTL_READ, serial, room, _MOST, 0, subject=name)
    return room.raw[: min(length, _MOST)]
