"""What `ps` shows of a process: its name and its command line, written over (proc_pid_comm(5), proc_pid_cmdline(5)).

Holds: `set_title`. Does not hold: which process bears which title. By files of `/proc/self` and not by prctl(2):
every call through ctypes makes a forked monitor's own some ten pages that it would share otherwise.
"""

from __future__ import annotations

from os import O_CLOEXEC, O_WRONLY, close, pwrite, write
from os import open as open_fd

_area: tuple[int, int] | None = None


def _arguments() -> tuple[int, int]:
    """Address and size of the argument strings that execve(2) laid out: arg_start and arg_end of
    proc_pid_stat(5). They stay where they are through forks."""
    with open("/proc/self/stat", "rb") as file:
        line = file.read()
    fields = line[line.rindex(b")") + 2 :].split()
    start, end = int(fields[45]), int(fields[46])
    return start, end - start


def set_title(title: bytes) -> None:
    """Show `title` as this process' command line, cut to the room there is, and its first 15 bytes as its name.

    Never fails: where the kernel allows neither, `ps` goes on showing the old one.
    """
    global _area
    try:
        if _area is None:
            _area = _arguments()
        start, size = _area
        fd = open_fd("/proc/self/comm", O_WRONLY | O_CLOEXEC)
        write(fd, title[:15])
        close(fd)
        if start and size > 1:
            # The last byte must stay NUL: otherwise the kernel takes the environment as the continuation.
            fd = open_fd("/proc/self/mem", O_WRONLY | O_CLOEXEC)
            pwrite(fd, title[: size - 1].ljust(size, b"\0"), start)
            close(fd)
    except OSError:
        pass
