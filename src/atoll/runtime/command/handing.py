"""What a caller hands to the runtime and gets from it: descriptors, a terminal, the pid.

Holds: what `create`, `run`, `exec` and `restore` share of that. Does not hold: the verbs (`make.py`, `enter.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.command.console import Console
    from atoll.runtime.command.options import Given
    from atoll.runtime.plan import Created
    from atoll.spec.runtime import Process


def console_of(given: Given, *, terminal: bool, detach: bool) -> Console | None:
    """The socket that takes the terminal, if one is to be handed over. Raises InvalidArgument as runc does."""
    path = given.text("console-socket")
    if path and not (terminal and detach):
        raise errors.InvalidArgument("cannot use console socket if runc will not detach or allocate tty")
    if not path:
        if terminal and detach:
            raise errors.InvalidArgument("cannot allocate tty if runc will detach without setting console socket")
        return None
    from atoll.runtime.command.console import Console

    return Console(path)


def kept_descriptors(given: Given) -> int:
    """How many descriptors from 3 on go to the program: `--preserve-fds` and those of socket activation.

    Raises InvalidArgument if one of them is not open: another file would take its place.
    """
    count = given.number("preserve-fds") or 0
    listening = os.environ.get("LISTEN_FDS", "")
    if listening.isdecimal():
        count += int(listening)
    for fd in range(3, 3 + count):
        try:
            os.fstat(fd)
        except OSError:
            raise errors.InvalidArgument(
                f"please check that preserved-fd {fd - 3} (of {count}) is present: file descriptor {fd} is not open"
            ) from None
    return count


def with_listeners(process: Process) -> Process:
    """What sd_listen_fds(3) reads; the program is number 1 inside, or at least its pid cannot be known before."""
    count = os.environ.get("LISTEN_FDS", "")
    if not (count.isdecimal() and int(count)):
        return process
    added = [f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    if names := os.environ.get("LISTEN_FDNAMES"):
        added.append(f"LISTEN_FDNAMES={names}")
    return process.replace(env=(*process.env, *added))


def hand_out(made: Created, given: Given, console: Console | None) -> Created:
    """Give the caller what it asked for: the terminal, the pidfd, the pid file. Raises AtollError."""
    if console is not None and made.console is not None:
        console.send(made.console)
        made = made.replace(console=None)
    if socket := given.text("pidfd-socket"):
        from atoll.runtime.command.console import send_pidfd

        send_pidfd(socket, made.pidfd)
    if pid_file := given.text("pid-file"):
        try:
            files.write_atomic(pid_file, str(made.pid), mode=0o644)
        except OSError as error:
            raise errors.from_os_error(error, f"write the pid file {pid_file}") from error
    return made
