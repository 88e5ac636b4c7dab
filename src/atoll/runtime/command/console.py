"""Terminals on the caller's side: handing the master over a socket, or relaying it while in the foreground.

Holds: `Console` (the socket of `--console-socket`), `attend` (wait for a process, forward signals, relay a terminal).
Does not hold: making the terminal (`../init.py`).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import errno
import os
import select
import struct
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket

from atoll.base import errors, files
from atoll.linux import process, signals, tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.runtime.plan import Created

_PATH_LONGEST = 107  # sockaddr_un holds no more, unix(7)
_CHUNK = 32 * 1024


class Console:
    """The caller's socket, connected before anything is made, so that a wrong path costs nothing."""

    def __init__(self, path: str) -> None:
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            connect(self._socket, path)
        except OSError as error:
            raise errors.from_os_error(error, f"connect to the console socket {path}") from error

    def send(self, master: int, name: str = "/dev/ptmx") -> None:
        """Hand the terminal's master over; ours is closed. Raises AtollError."""
        try:
            self._socket.sendmsg([name.encode()], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", master))])
        except OSError as error:
            raise errors.from_os_error(error, "send the terminal over the console socket") from error
        finally:
            os.close(master)
            self._socket.close()


def connect(end: socket, path: str) -> None:
    """Connect to a path of any length. Raises OSError."""
    if len(os.fsencode(path)) <= _PATH_LONGEST:
        end.connect(path)
        return
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)


def send_pidfd(path: str, pidfd: int) -> None:
    """`--pidfd-socket`: hand a pidfd over. Raises AtollError."""
    end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connect(end, path)
        end.sendmsg([b"pidfd"], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", pidfd))])
    except OSError as error:
        raise errors.from_os_error(error, f"send the pidfd over {path}") from error
    finally:
        end.close()


def hold_signals() -> None:
    """Keep signals back from here until `attend` can forward them; the container's process starts without it."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _forwarded())


def attend(created: Created) -> int:
    """Stay with a process in the foreground until it ends: signals go to it, its terminal is relayed.

    Returns its exit code, or 128 and the signal that ended it.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in _forwarded():
        signals.handle(number, _noticed)
    signals.set_wakeup_fd(write_end)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _forwarded())
    relay = _Relay(created.console) if created.console is not None else None
    try:
        poller = select.poll()
        poller.register(created.pidfd, select.POLLIN)
        poller.register(read_end, select.POLLIN)
        if relay is not None:
            relay.watch(poller)
        while True:
            for fd, events in poller.poll():
                if fd == read_end:
                    _forward(os.read(read_end, 256), created.pidfd, relay)
                elif fd == created.pidfd:
                    if relay is not None:
                        relay.drain()
                    return _code_of(created.pid)
                elif relay is not None:
                    relay.move(fd, events, poller)
    finally:
        signals.set_wakeup_fd(-1)
        if relay is not None:
            relay.close()


_NOT_FORWARDED = frozenset(
    (signals.SIGKILL, signals.SIGSTOP, signals.SIGCHLD, signals.SIGPIPE, signals.SIGURG, 4, 7, 8, 11, 32, 33)
)


def _forwarded() -> list[int]:
    return [number for number in range(1, signals.SIGRTMAX + 1) if number not in _NOT_FORWARDED]


def _noticed(_number: int, _frame: object) -> None:
    """The number is in the wake-up pipe."""


def _forward(numbers: bytes, pidfd: int, relay: _Relay | None) -> None:
    for number in numbers:
        if number == signals.SIGWINCH and relay is not None:
            relay.resize()
            continue
        try:
            process.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return


def _code_of(pid: int) -> int:
    result = os.waitid(os.P_PID, pid, os.WEXITED)
    assert result is not None
    return result.si_status if result.si_code == _CLD_EXITED else 128 + result.si_status


_CLD_EXITED = 1


class _Relay:
    """Between our standard streams and a terminal's master; our own terminal is raw meanwhile."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._saved: Any = None
        if os.isatty(0):
            import termios

            self._saved = termios.tcgetattr(0)
            termios.tcsetattr(0, termios.TCSANOW, _raw(self._saved))
            self.resize()

    def watch(self, poller: select.poll) -> None:
        poller.register(self._master, select.POLLIN)
        poller.register(0, select.POLLIN)

    def resize(self) -> None:
        """Give the terminal the size of ours."""
        try:
            tty.set_window_size(self._master, *tty.window_size(0))
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise

    def move(self, fd: int, _events: int, poller: select.poll) -> None:
        source, target = (0, self._master) if fd == 0 else (self._master, 1)
        try:
            data = os.read(source, _CHUNK)
        except OSError as error:
            if error.errno != errno.EIO:  # the last slave was closed
                raise
            data = b""
        if data:
            files.write_all(target, data)
            return
        poller.unregister(fd)
        if fd == 0:
            os.write(self._master, b"\4")  # end of file, as a terminal says it

    def drain(self) -> None:
        """What the process wrote last."""
        poller = select.poll()
        poller.register(self._master, select.POLLIN)
        while any(events & select.POLLIN for _, events in poller.poll(0)):
            try:
                data = os.read(self._master, _CHUNK)
            except OSError:
                return
            if not data:
                return
            files.write_all(1, data)

    def close(self) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
        os.close(self._master)


def _raw(settings: Any) -> Any:
    """cfmakeraw(3)."""
    import termios as t

    iflag, oflag, cflag, lflag, ispeed, ospeed, chars = settings
    iflag &= ~(t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON)
    lflag &= ~(t.ECHO | t.ECHONL | t.ICANON | t.ISIG | t.IEXTEN)
    cflag = cflag & ~(t.CSIZE | t.PARENB) | t.CS8
    characters = list(chars)
    characters[t.VMIN], characters[t.VTIME] = 1, 0
    return [iflag, oflag & ~t.OPOST, cflag, lflag, ispeed, ospeed, characters]
