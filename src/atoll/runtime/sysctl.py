"""`linux.sysctl`: only what a namespace of the container's own holds, written through a private procfs.

Holds: the allow-list and `apply`. Source: namespaces(7), Documentation/admin-guide/sysctl; runc's list of the same
purpose. Annotations and labels never become sysctls (CVE-2022-0811).
"""

from __future__ import annotations

import os

from atoll.base import errors

_IPC = frozenset(
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni "
    "kernel.shm_rmid_forced".split()
)


def check(pairs: tuple[tuple[str, str], ...], own: frozenset[str]) -> None:
    """Refuse what is not of a namespace in `own` (names as in config.json). Raises InvalidArgument naming the key."""
    for key, _ in pairs:
        name = key.replace("/", ".")
        if name in _IPC or name.startswith("fs.mqueue."):
            needed = "ipc"
        elif name.startswith("net."):
            needed = "network"
        elif name in ("kernel.hostname", "kernel.domainname"):
            needed = "uts"
        else:
            raise errors.InvalidArgument(
                f"linux.sysctl: {key} is not of any namespace: it would change the host",
                hint="set it on the host, or drop it",
            )
        if needed not in own:
            raise errors.InvalidArgument(f"linux.sysctl: {key} needs a new {needed} namespace")


def apply(proc_fd: int, pairs: tuple[tuple[str, str], ...]) -> None:
    """Write each value below `proc_fd`, the root of a procfs of our own. Raises OSError with the key."""
    for key, value in pairs:
        path = "sys/" + (key if "/" in key else key.replace(".", "/"))
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=proc_fd)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, key) from None
