"""Signals as numbers, without the `signal` module (its enumerations cost 4 ms of every start).

Holds: names and numbers, and the few calls an init and the command line need, from the C module underneath.
Source: signal(7); the numbers are the same on x86-64 and aarch64.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
NUMBERS = {name: number for number, name in enumerate(NAMES, 1)}
SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGPIPE, SIGTERM, SIGCHLD = 1, 2, 3, 9, 13, 15, 17
SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH = 18, 19, 20, 21, 22, 23, 28
SIGRTMIN, SIGRTMAX = 34, 64


def number_of(text: str) -> int:
    """A signal by number or name, with or without `SIG`, any case; `RTMIN+3`. Raises ValueError."""
    if text.isascii() and text.isdecimal():
        number = int(text)
        if 1 <= number <= SIGRTMAX:
            return number
        raise ValueError(f"no signal {text}")
    name = text.upper().removeprefix("SIG")
    if name in NUMBERS:
        return NUMBERS[name]
    for prefix, base, sign in (("RTMIN", SIGRTMIN, 1), ("RTMAX", SIGRTMAX, -1)):
        if name.startswith(prefix):
            rest = name[len(prefix) :]
            offset = 0 if not rest else sign * int(rest)
            if 0 <= offset <= SIGRTMAX - SIGRTMIN:
                return base + sign * offset
    raise ValueError(f"no signal {text!r}")


def name_of(number: int) -> str:
    """`SIGTERM` for 15; `SIG40` for a real-time one."""
    return f"SIG{NAMES[number - 1]}" if 1 <= number <= len(NAMES) else f"SIG{number}"


def interruptible() -> None:
    """Let SIGINT raise KeyboardInterrupt again, which the launcher turned off; ignored stays ignored."""
    if _signal.getsignal(SIGINT) == _signal.SIG_DFL:
        _signal.signal(SIGINT, _signal.default_int_handler)


def handle(number: int, handler: Callable[[int, Any], Any]) -> None:
    """Install a Python handler."""
    _signal.signal(number, handler)


def ignore(number: int) -> None:
    """SIG_IGN."""
    _signal.signal(number, _signal.SIG_IGN)


def default(number: int) -> None:
    """SIG_DFL."""
    _signal.signal(number, _signal.SIG_DFL)


def let_go(number: int) -> None:
    """SIG_DFL in place of a Python handler while the signal may be arriving. One that came before has been handled
    when this returns; one that comes meanwhile meets the default. Without the mask CPython tells of one that falls in
    between ("ignored due to race condition") on standard error."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (number,))
    _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (number,))


def set_wakeup_fd(fd: int) -> int:
    """A byte a signal arrives on this descriptor; -1 for none. Returns the one before."""
    before: int = _signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    return before


def reset_all() -> None:
    """What a fresh program expects: nothing blocked, nothing ignored (Python ignores SIGPIPE and SIGXFSZ, and
    ignored signals survive execve(2))."""
    for number in range(1, SIGRTMAX + 1):
        if number not in (SIGKILL, SIGSTOP, 32, 33):
            try:
                if _signal.getsignal(number) not in (_signal.SIG_DFL, None):
                    _signal.signal(number, _signal.SIG_DFL)
            except (OSError, ValueError):
                pass
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
