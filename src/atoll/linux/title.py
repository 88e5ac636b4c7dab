"""What `ps` shows of a process: its name and its command line, written over (PR_SET_NAME, proc_pid_cmdline(5)).

Holds: `set_title`. Does not hold: which process bears which title.
"""

from __future__ import annotations

import ctypes

from atoll.linux import process

_area: tuple[int, int] | None = None


def _arguments() -> tuple[int, int]:
    """Address and size of the argument strings that execve(2) laid out: arg_start and arg_end of
    proc_pid_stat(5). They stay where they are through forks."""
    global _area
    if _area is None:
        with open("/proc/self/stat", "rb") as file:
            line = file.read()
        fields = line[line.rindex(b")") + 2 :].split()
        start, end = int(fields[45]), int(fields[46])
        _area = (start, end - start)
    return _area


def set_title(title: str) -> None:
    """Show `title` as this process' command line, cut to the room there is, and its first 15 bytes as its name.

    Never fails: where the kernel hides the addresses (they read 0 without the right to trace) only the name is set.
    """
    raw = title.encode()
    process.set_name(title)
    start, size = _arguments()
    if start and size > 1:
        # The last byte must stay NUL: otherwise the kernel takes the environment as the continuation.
        ctypes.memmove(start, raw[: size - 1].ljust(size, b"\0"), size)
