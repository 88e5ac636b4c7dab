"""Time namespaces: time_namespaces(7). Holds `enter_new`; does not hold joining one that exists (`process.setns`)."""

from __future__ import annotations

import os

from atoll.linux import process


def enter_new(offsets: list[tuple[str, int, int]]) -> None:
    """Make a time namespace with these clock offsets (name, seconds, nanoseconds) and move this process, which must
    have one thread, into it.

    The offsets can only be written while nobody is inside, so that it is made for the children first. Raises OSError.
    """
    process.unshare(process.CLONE_NEWTIME)
    for clock, seconds, nanoseconds in offsets:
        fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, f"{clock} {seconds} {nanoseconds}\n".encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"timeOffsets.{clock}") from None
        finally:
            os.close(fd)
    fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        process.setns(fd, process.CLONE_NEWTIME, "time namespace")
    finally:
        os.close(fd)
