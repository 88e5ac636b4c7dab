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
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

VERSION = b"1"
DOOR = b"/door.sock"
WARM = frozenset(
    (
        "run create start stop restart kill pause unpause rm rename wait exec ps logs inspect images rmi tag history "
        "top stats port diff update container image volume network"
    ).split()
)
"""The commands that may run elsewhere: none of them asks the terminal for a secret or hands a program to this one."""
_ATTACHING = frozenset(("run", "start", "exec", "container"))
_FORWARDED = (1, 2, 3, 10, 12, 15, 14, 28, 13, 16, 24, 25, 26, 27, 29, 30)
"""Signals that reach the command wherever it runs; those that stop and continue concern this process alone."""
_CODE = 4


def first(argv: list[str], command: list[str]) -> None:
    """Run `argv` in a warm process and end with its exit code; returns if that is not to be."""
    if not argv or argv[0] not in WARM or (argv[0] in _ATTACHING and _types(argv)):
        return
    environ = posix.environ
    if environ.get(b"ATOLL_SPAWNER") == b"off" or b"ATOLL_TIMING" in environ:
        return
    try:
        peer = _connect(_run_root(environ) + DOOR)
        ours, theirs = posix.pipe2(posix.O_CLOEXEC)
        here = posix.open(".", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        for fd in (0, 1, 2):
            posix.fstat(fd)
        _send(peer, command[4], argv, environ, (0, 1, 2, here, ours))
        answer = peer.recv(16)
        if answer[:1] != b"w":
            posix.close(theirs)
            posix.close(ours)
            posix.close(here)
            peer.close()
            return
        pidfd = posix.pidfd_open(int(answer[1:]))
    except (OSError, ValueError):
        return
    posix.close(ours)
    _attend(peer, pidfd)


def _types(argv: list[str]) -> bool:
    """Whether a person at a terminal may type into the container: then the command stays in the terminal's session,
    for the sake of job control."""
    for word in argv[1:]:
        short = word[:1] == "-" and word[1:2] != "-" and ("i" in word or "t" in word or "a" in word)
        if short or word[:3] in ("--i", "--t", "--a"):
            return posix.isatty(0)
    return False


def _run_root(environ: dict[bytes, bytes]) -> bytes:
    """As `engine/paths.py` has it."""
    run = environ.get(b"ATOLL_RUN_ROOT")
    if run:
        return run
    uid = posix.geteuid()
    if uid == 0:
        return b"/run/atoll"
    runtime_dir = environ.get(b"XDG_RUNTIME_DIR", b"")
    return runtime_dir + b"/atoll" if runtime_dir[:1] == b"/" else b"/tmp/atoll-%d" % uid


def _connect(path: bytes) -> socket:
    """Raises OSError when nobody is there, or somebody else."""
    peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    peer.connect(path)
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


def _attend(peer: socket, pidfd: int) -> NoReturn:
    """Pass signals on until the exit code comes; end as the command ended."""
    forwarded = [0]

    def forward(number: int, frame: object) -> None:
        forwarded[0] = number
        try:
            _signal.pidfd_send_signal(pidfd, number)
        except OSError:  # it has ended: the code is on its way
            pass

    for number in _FORWARDED:
        # What was ignored stays ignored (nohup); SIGPIPE and SIGXFSZ Python ignores itself.
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, forward)
    code = b""
    while len(code) < _CODE:
        try:
            data = peer.recv(_CODE)
        except OSError:
            data = b""
        if not data:
            break
        code += data
    if len(code) == _CODE:
        posix._exit(int.from_bytes(code, "little"))
    if forwarded[0]:
        _signal.signal(forwarded[0], _signal.SIG_DFL)
        posix.kill(posix.getpid(), forwarded[0])
    posix.write(2, b"atoll: the process that ran this command was killed\n")
    posix._exit(137)
