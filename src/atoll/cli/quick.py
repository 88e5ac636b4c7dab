"""The first milliseconds of `atoll`: have a warm process run the command, if there is one, on `posix` alone.

Holds: `first`, which hands this process's descriptors, arguments and environment to the spawner's door and passes
signals and the exit code on. Does not hold: what is done with them (`warm.py`, which draws the conversation). Nothing
here is a word of error: without a door, or one that declines, it returns, and the command is run in this process.

Why: of a short command most is importing Atoll, which the spawner has done (docs/startup.md has the figures).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import posix
from _socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SHUT_RDWR,
    SO_PEERCRED,
    SO_RCVTIMEO,
    SO_SNDTIMEO,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

VERSION = b"2"
DOOR = b"/door.sock"
WARM = frozenset(
    (
        "run create start stop restart kill pause unpause rm rename wait exec ps logs inspect images rmi tag history "
        "top stats port diff update pull container image volume network"
    ).split()
)
"""The commands that may run elsewhere: none of them asks the terminal for a secret or hands a program to this one."""
_GROUPS = frozenset(("container", "image"))
_GROUPED = WARM - _GROUPS | frozenset(("ls", "list", "remove", "prune"))
"""What may follow those two: `attach`, `sign`, `load` and others want this process."""
_ATTACHING = frozenset(("run", "start", "exec", "container"))
_FORWARDED = (1, 2, 3, 5, 6, 10, 12, 13, 14, 15, 16, 24, 25, 26, 27, 28, 29, 30, 31)
"""Signals that reach the command wherever it runs, as many as one in this process would act on."""
_SIGSTOP, _SIGCONT, _SIGTSTP, _SIGWINCH = 19, 18, 20, 28
_HELD = (*_FORWARDED, _SIGTSTP)
_PATIENCE = (5).to_bytes(8, "little") + bytes(8)
_FOREVER = bytes(16)
"""Both are `struct timeval`: the spawner may be stopped, and no command is to wait for it long."""


def first(argv: list[str], command: list[str]) -> None:
    """Run `argv` in a warm process and end with its exit code; returns if that is not to be."""
    environ = posix.environ
    if not _suits(argv) or environ.get(b"ATOLL_SPAWNER") == b"off" or b"ATOLL_TIMING" in environ:
        return
    # Whatever arrives from now on waits until it can be passed on, or until this process does the work itself.
    held = _signal.pthread_sigmask(_signal.SIG_BLOCK, _HELD)
    try:
        found = None if held else _ask(argv, command[4], environ)
        if found is not None:
            _attend(*found, held)
    except (OSError, ValueError):
        pass
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, held)


def _suits(argv: list[str]) -> bool:
    """Whether these words may run elsewhere."""
    if not argv or argv[0] not in WARM or (argv[0] in _GROUPS and (len(argv) < 2 or argv[1] not in _GROUPED)):
        return False
    return argv[0] not in _ATTACHING or not _types(argv)


def _types(argv: list[str]) -> bool:
    """Whether a person at a terminal may type into the container: then the command stays in the terminal's session,
    for the sake of job control."""
    for word in argv[1:]:
        short = word[:1] == "-" and word[1:2] != "-" and ("i" in word or "t" in word or "a" in word)
        if short or word[:3] in ("--i", "--t", "--a"):
            return posix.isatty(0)
    return False


def _run_root(environ: dict[bytes, bytes]) -> bytes:
    """As `engine/paths.py` has it, not normalised: where that makes a difference nobody, or a stranger, is found."""
    run = environ.get(b"ATOLL_RUN_ROOT")
    if run:
        return run
    uid = posix.geteuid()
    if uid == 0:
        return b"/run/atoll"
    runtime_dir = environ.get(b"XDG_RUNTIME_DIR", b"")
    return runtime_dir + b"/atoll" if runtime_dir[:1] == b"/" else b"/tmp/atoll-%d" % uid


def _ask(argv: list[str], directory: str, environ: dict[bytes, bytes]) -> tuple[socket, int, int] | None:
    """The connection over which the exit code comes, the pidfd of the process that has begun with the command, and
    the descriptor that holds it alive; None if it declined. Raises OSError, ValueError: nobody has begun."""
    for fd in (0, 1, 2):  # before anything is opened, which would take the place of one that is closed
        posix.fstat(fd)
    peer = _connect(_run_root(environ))
    fds: list[int] = []
    try:
        fds += posix.pipe2(posix.O_CLOEXEC)
        fds.append(posix.open(".", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC))
        _send(peer, directory, argv, environ, (0, 1, 2, fds[2], fds[0]))
        answer, rights = _answer(peer)
        if answer == b"w":
            peer.setsockopt(SOL_SOCKET, SO_RCVTIMEO, _FOREVER)
            pidfd = int.from_bytes(rights[0][2][:4], "little") if rights else -1
            return peer, pidfd, fds.pop(1)
        peer.close()
        return None
    finally:
        for fd in fds:
            posix.close(fd)


def _connect(root: bytes) -> socket:
    """Raises OSError when nobody is there, or somebody else, or others could have planted what is there."""
    found = posix.lstat(root)
    if found.st_uid != posix.geteuid() or found.st_mode & 0o170077 != 0o040000:
        raise PermissionError
    peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    peer.setsockopt(SOL_SOCKET, SO_SNDTIMEO, _PATIENCE)
    peer.setsockopt(SOL_SOCKET, SO_RCVTIMEO, _PATIENCE)
    peer.connect(root + DOOR)
    uid = peer.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)[4:8]
    if int.from_bytes(uid, "little") != posix.geteuid():
        raise PermissionError
    return peer


def _send(peer: socket, directory: str, argv: list[str], environ: dict[bytes, bytes], fds: tuple[int, ...]) -> None:
    words = [VERSION, _bytes(directory), b"%d" % len(argv), *map(_bytes, argv)]
    words += [name + b"=" + value for name, value in environ.items()]
    data = b"\0".join(words)
    rights = b"".join([fd.to_bytes(4, "little") for fd in fds])
    data = len(data).to_bytes(4, "little") + data
    sent = peer.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, rights)])
    if sent < len(data):
        peer.sendall(data[sent:])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _answer(peer: socket) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    """One byte and the descriptor with it. The exit code is not to be taken with it, however soon it follows."""
    try:
        data, rights, _, _ = peer.recvmsg(1, 64, MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        # After this nobody can begin any more: what says so would not get through. Or it has got through already.
        peer.shutdown(SHUT_RDWR)
        data, rights, _, _ = peer.recvmsg(1, 64, MSG_CMSG_CLOEXEC)
    return data, rights


def _attend(peer: socket, pidfd: int, alive: int, held: set[int]) -> NoReturn:
    """Pass signals on until the exit code comes; end as the command ended. `alive` stays open as long as we live."""
    ending = [0]

    def send(number: int) -> None:
        try:
            _signal.pidfd_send_signal(pidfd, number)
        except OSError:  # it has ended: the code is on its way
            pass

    def forward(number: int, frame: object) -> None:
        if number != _SIGWINCH:
            ending[0] = number
        send(number)

    def pause(number: int, frame: object) -> None:
        # The command stands still with us. In an orphaned group the kernel stops nobody, so neither do we.
        send(_SIGSTOP)
        _signal.signal(number, _signal.SIG_DFL)
        posix.kill(posix.getpid(), number)
        _signal.signal(number, pause)
        send(_SIGCONT)

    for number in _HELD:
        # What was ignored stays ignored (nohup); SIGPIPE and SIGXFSZ Python ignores itself.
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, pause if number == _SIGTSTP else forward)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, held)
    try:
        code = peer.recv(1)
    except OSError:
        code = b""
    if code:
        posix._exit(code[0])
    if ending[0]:
        _signal.signal(ending[0], _signal.SIG_DFL)
        posix.kill(posix.getpid(), ending[0])
    try:
        posix.write(2, b"atoll: the process that ran this command was killed\n")
    finally:
        posix._exit(137)
