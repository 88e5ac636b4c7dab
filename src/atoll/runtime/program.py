"""The last steps before the user's program: its working directory and environment, closing, the filter, execve.

Holds: `enter_directory`, `environment_of`, `refuse_shut_out`, `execute`. Does not hold: finding the program
(`identity.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.linux import process, seccomp
from atoll.runtime.identity import exec_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import NoReturn

    from atoll.runtime.identity import Identity
    from atoll.runtime.plan import InitPlan
    from atoll.spec.runtime import Process

STANDS_FD = 3
"""Where a program that stands for another finds the socket to the creator."""


def enter_directory(path: str, *, make: bool = True) -> None:
    """`process.cwd`, with `make` made if missing, inside the root. Raises AtollError."""
    try:
        os.chdir(path)
    except FileNotFoundError:
        if not make:
            raise errors.CommandNotExecutable(
                f'chdir to cwd ("{path}"): no such file or directory', hint="make it first, or leave out --workdir"
            ) from None
        # Docker makes a missing working directory, as the container's root would; here it is made by the user.
        try:
            os.makedirs(path, 0o755)
            os.chdir(path)
        except OSError as error:
            raise errors.from_os_error(error, f"enter the working directory {path}") from None
    except OSError as error:
        raise errors.from_os_error(error, f"enter the working directory {path}") from None
    # A descriptor of the host under /proc/self/fd would be a directory outside the root: the kernel then cannot
    # name it from our root (CVE-2024-21626).
    try:
        inside = os.getcwd().startswith("/")
    except FileNotFoundError:
        inside = False
    if not inside:
        raise errors.Denied(f"the working directory {path} lies outside the container's root")


def environment_of(proc: Process, identity: Identity) -> dict[str, str]:
    """`process.env`, the last of a name winning, and HOME if it has none."""
    environment: dict[str, str] = {}
    for entry in proc.env:
        key, equals, value = entry.partition("=")
        if equals and key:
            environment[key] = value
    environment.setdefault("HOME", identity.home)
    return environment


_DOORS = {
    "SCMP_ARCH_X86": "the 32-bit entry points into the kernel",
    "SCMP_ARCH_X32": "the x32 entry points into the kernel",
    "SCMP_ARCH_ARM": "the 32-bit entry points into the kernel",
}


def refuse_shut_out(plan: InitPlan, program: str) -> None:
    """A program that the filter would kill at its first system call is refused with the reason. Raises
    CommandNotExecutable."""
    description = plan.spec.linux.seccomp if plan.spec.linux is not None else None
    if description is None or plan.seccomp is None:
        return
    from atoll.runtime.seccomp import programs  # loaded by the creator

    try:
        fd = os.open(program, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # what may be executed need not be readable
    try:
        header = os.read(fd, programs.HEADER)
    except OSError:
        return
    finally:
        os.close(fd)
    needs = programs.shut_out(description, header)
    if needs is not None:
        raise errors.CommandNotExecutable(
            f'exec: "{program}": it needs {_DOORS.get(needs, needs)}, which the seccomp profile keeps shut',
            hint="open them: --security-opt allow_32bit",
        )


def execute(plan: InitPlan, program: str, arguments: list[str], environment: dict[str, str], end: socket) -> NoReturn:
    """C7: the filter last, then nothing but closing and execve."""
    # Everything above the standard descriptors (and those to be kept) goes at execve; the socket with it, which
    # is what tells P that the program runs (CVE-2024-21626).
    process.close_range(3 + plan.preserve_fds, flags=process.CLOSE_RANGE_CLOEXEC)
    if plan.stands:
        if end.fileno() != STANDS_FD:
            os.dup2(end.fileno(), STANDS_FD)
        os.set_inheritable(STANDS_FD, True)
    notifying = plan.seccomp_flags & seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER
    if plan.process.no_new_privileges and plan.seccomp is not None and not notifying:
        seccomp.seccomp_set_mode_filter(plan.seccomp, plan.seccomp_flags)
    try:
        os.execve(program, arguments, environment)
    except OSError as error:
        raise exec_error(error, program) from None
