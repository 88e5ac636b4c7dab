"""The command's side: reach the spawner or start one, ask for a container or an exec session, talk to its monitor.

Holds: `connect`, `attach`, `Attachment`. Does not hold: what runs at the other end (`spawner.py`, `monitor.py`), the
user's terminal (`cli`). Imported by every `atoll run`: what only a cold start needs is imported there.
Start reading at `connect`.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SHUT_RDWR, SOCK_CLOEXEC, SOCK_STREAM, socket, socketpair
from zlib import crc32

import atoll
from atoll.base import errors, files, jsontext, timing
from atoll.monitor.protocol import (
    ATTACH_SOCKET,
    CONTROL,
    CONTROL_MAX,
    DATA_MAX,
    OLDEST,
    REQUEST_MAX,
    STDIN,
    VERSION,
    WINDOW,
    FrameReader,
    Malformed,
    check_monitor,
    control,
    frame,
)
from atoll.monitor.requests import Caller
from atoll.monitor.sockets import check_directory, listen
from atoll.monitor.sockets import connect as connect_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from atoll.monitor.requests import Create, Exec

IDLE_SECONDS = 60.0
FAULTS_FILE = "faults.log"
FAULTS_MAX = 1 << 20
LOCK_FILE = "spawner.lock"
RLIMITS = 16
"""RLIM_NLIMITS of include/uapi/asm-generic/resource.h."""

_NAMESPACES = ("mnt", "user", "net", "pid", "cgroup")


class Attachment:
    """A connection to a monitor: frames of streams 1, 2 and 8 come out, input and control go in.

    `fileno` is for poll(2): when it is readable, `receive`. `room` is how much input may be sent now. The exit is the
    last frame: after it, `ended` is set without waiting for the monitor, which may wait for our `cleaned`.
    """

    def __init__(self, peer: socket) -> None:
        self._peer = peer
        self._reader = FrameReader(CONTROL_MAX)
        self._frames: list[tuple[int, bytes]] = []
        self.room = WINDOW
        self.ended = False
        self._exited = False

    def fileno(self) -> int:
        """The descriptor."""
        return self._peer.fileno()

    def waiting(self) -> bool:
        """Whether `receive` holds frames already that poll(2) knows nothing of: those that `expect` kept."""
        return bool(self._frames)

    def receive(self) -> list[tuple[int, bytes]]:
        """What has come, waiting for at least some bytes: whole frames (stream, payload), perhaps none yet.

        Credit is booked and not returned. At the end `ended` is set and the list is empty. Raises OSError, Corrupt.
        """
        if self._frames:
            frames, self._frames = self._frames, []
            return frames
        if self._exited:
            self.ended = True
            return []
        try:
            data = self._peer.recv(4 * DATA_MAX)
            if not data:
                self.ended = True
                return []
            return [one for one in self._reader.feed(data) if not self._booked(one)]
        except ConnectionResetError:
            self.ended = True
            return []
        except Malformed as error:
            raise errors.Corrupt(f"the monitor broke the protocol: {error}") from None

    def read(self) -> tuple[int, bytes] | None:
        """The next frame, waiting for it; None at the end. Raises OSError, Corrupt."""
        while not self._frames:
            frames = self.receive()
            if self.ended:
                return None
            self._frames = frames
        return self._frames.pop(0)

    def _booked(self, one: tuple[int, bytes]) -> bool:
        stream, payload = one
        if stream != CONTROL or not payload.startswith(b'{"is":"credit"'):
            self._exited |= stream == CONTROL and payload.startswith(b'{"is":"exit"')
            return False
        self.room += jsontext.loads(payload)["bytes"]
        return True

    def expect(self, *words: str) -> dict[str, Any]:
        """Wait for a control message `{"is": word}`, keeping output that comes before it for `receive`.

        Raises the error that the monitor tells of, Unavailable if it goes away first.
        """
        kept: list[tuple[int, bytes]] = []
        try:
            while True:
                one = self.read()
                if one is None:
                    raise errors.Unavailable(
                        "the monitor went away without an answer", hint=f"{FAULTS_FILE} in the run root may tell why"
                    )
                if one[0] == CONTROL:
                    message: dict[str, Any] = jsontext.loads(one[1])
                    if message.get("is") == "error":
                        raise errors.from_json(message.get("error"))
                    if message.get("is") in words:
                        return message
                kept.append(one)
        finally:
            self._frames = kept + self._frames

    def _tell(self, data: bytes) -> None:
        try:
            self._peer.sendall(data)
        except (BrokenPipeError, ConnectionResetError):  # it has ended; what it said last is still to be read
            pass

    def send_stdin(self, data: bytes | memoryview) -> None:
        """Send input, at most `room` bytes. Raises InvalidArgument beyond that."""
        if len(data) > self.room:
            raise errors.InvalidArgument("more input than the monitor has room for")
        self.room -= len(data)
        for start in range(0, len(data), DATA_MAX):
            self._tell(frame(STDIN, bytes(data[start : start + DATA_MAX])))

    def close_stdin(self) -> None:
        """The end of input (without a terminal)."""
        self._tell(control({"do": "close-stdin"}))

    def resize(self, rows: int, cols: int) -> None:
        """The terminal's size."""
        self._tell(control({"do": "resize", "rows": rows, "cols": cols}))

    def signal(self, number: int) -> None:
        """A signal for the process."""
        self._tell(control({"do": "signal", "signal": number}))

    def start(self) -> None:
        """Start a created container and wait until its program runs. Raises why it does not (kinds
        command-not-found, command-not-executable and others)."""
        self.send_start()
        self.expect("started")

    def send_start(self) -> None:
        """Ask for the start; `started`, or `error` and then `exit`, come as control frames."""
        self._tell(control({"do": "start"}))

    def promise(self) -> None:
        """Promise to clean up after the exit; without `cleaned` the clean-up command runs after all."""
        self._tell(control({"do": "promise"}))

    def cleaned(self) -> None:
        """The promise is kept."""
        self._tell(control({"do": "cleaned"}))

    def detach(self) -> None:
        """Leave the process running, its input open, and close."""
        self._tell(control({"do": "detach"}))
        self.close()

    def close(self) -> None:
        """Close the connection; without `detach` before it the input of the process ends (unless it is to stay)."""
        self._peer.close()

    def shut(self) -> None:
        """End both directions, waking whoever waits in `read`."""
        try:
            self._peer.shutdown(SHUT_RDWR)
        except OSError:
            pass


class Channel:
    """A connection on which nothing was asked yet: made early, so that the fork happens meanwhile."""

    def __init__(self, peer: socket) -> None:
        self._peer = peer

    def create(self, request: Create, *, promise: bool = False, start: bool = False) -> Attachment:
        """Have a container created; returns once it waits for its start, or with `start` is being started. Raises
        why it was not."""
        message = {"do": "create", "promise": promise, "start": start, "request": request.to_json()}
        return self._ask(message, "created")

    def exec(self, request: Exec) -> Attachment:
        """Have a process executed in a running container; returns once it runs. Raises why it does not."""
        return self._ask({"do": "exec", "request": request.to_json()}, "started")

    def adopt(self, run: str) -> None:
        """Have a container taken over whose monitor is dead; nothing happens if somebody keeps it company. Raises why
        it was not."""
        self._ask({"do": "adopt", "run": run}, "adopted", "kept").close()

    def ping(self) -> None:
        """Make sure that somebody is there. Raises Unavailable."""
        self._ask({"do": "ping"}, "pong").close()

    def _ask(self, message: dict[str, Any], answer: str, *others: str) -> Attachment:
        data = control({"v": VERSION, **message})
        if len(data) > REQUEST_MAX:
            self._peer.close()
            raise errors.InvalidArgument(
                f"the request takes {len(data)} bytes, {REQUEST_MAX} at most", hint="is the environment very large?"
            )
        attachment = Attachment(self._peer)
        try:
            attachment._tell(data)
            timing.put(answer, attachment.expect(answer, *others).get("steps"))
        except BaseException:
            attachment.close()
            raise
        return attachment

    def close(self) -> None:
        """Ask for nothing."""
        self._peer.close()


def caller(environ: Mapping[str, str] | None = None) -> Caller:
    """This process as a request describes it."""
    import resource

    variables = (os.environ if environ is None else environ).items()
    return Caller(
        env=tuple([f"{name}={value}" for name, value in variables]),
        rlimits=tuple([resource.getrlimit(number) for number in range(RLIMITS)]),
    )


def attach(run: str, *, output: bool = True, stdin: bool = False) -> Attachment:
    """Connect to the monitor of a container. `output`: from now on; what was before is in the log.

    Raises NotFound if no monitor is there (the container has ended, or its monitor was killed), Unsupported if it is
    a newer Atoll's. One of the version before ours is spoken to in its own.
    """
    try:
        return _attach(run, VERSION, output, stdin)
    except errors.Unsupported:
        if VERSION == OLDEST:
            raise
        return _attach(run, VERSION - 1, output, stdin)


def _attach(run: str, version: int, output: bool, stdin: bool) -> Attachment:
    try:
        peer = connect_socket(f"{run}/{ATTACH_SOCKET}")
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise errors.NotFound(f"no monitor answers in {run}") from None
    attachment = Attachment(peer)
    attachment._tell(control({"do": "attach", "v": version, "output": output, "stdin": stdin}))
    try:
        check_monitor(attachment.expect("attached").get("v", OLDEST))
    except BaseException:
        attachment.close()
        raise
    return attachment


def connect(run_root: str, *, data_root: str = "", mode: str | None = None, door: str | None = None) -> Channel:
    """A connection to the spawner of this user, these namespaces, this store and version, which is started if need
    be; with `mode` (or ATOLL_SPAWNER) `off` to a monitor of its own. `door` names the module whose `open_door` a new
    spawner is to call, so that it runs commands too.

    `run_root` is made if absent and must be ours alone. Raises Denied, OSError.
    """
    check_directory(run_root)
    if (mode or os.environ.get("ATOLL_SPAWNER", "")) == "off":
        return _alone(run_root)
    path = f"{run_root}/spawner-{key(data_root)}.sock"
    lock = files.FileLock(f"{run_root}/{LOCK_FILE}")
    # Shared: a spawner that is about to go unlinks its socket alone under this lock, so whoever has connected under
    # it is in the backlog before that and served.
    lock.acquire(shared=True)
    try:
        peer = _try(path)
    finally:
        lock.release()
    if peer is None:
        lock.acquire()  # two commands that find nobody: one starts it, the other then finds it
        try:
            peer = _try(path) or _start(run_root, path, data_root, door)
        finally:
            lock.release()
    return Channel(peer)


def key(data_root: str) -> str:
    """What tells spawners of one run root apart: protocol, uid, namespaces, and as a checksum the version (with the
    installed package's time), the store and, for an ordinary user, the cgroup: only within a subtree delegated to
    him may a process be put into a group of it."""
    package = os.stat(atoll.__file__)
    about = [atoll.__version__, atoll.__file__, str(package.st_mtime_ns), data_root]
    uid = os.geteuid()
    if uid != 0:
        about.append(files.read_text("/proc/self/cgroup"))
    spaces = [f"{os.stat(f'/proc/self/ns/{name}').st_ino:x}" for name in _NAMESPACES]
    return "-".join((str(VERSION), str(uid), *spaces, f"{crc32('|'.join(about).encode()):08x}"))


def _try(path: str) -> socket | None:
    try:
        return connect_socket(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def _start(run_root: str, path: str, data_root: str, door: str | None) -> socket:
    """Bind the spawner's socket here, hand it over, and connect at once: the backlog holds us until it is up."""
    files.unlink_if_present(path)
    listener = listen(path)
    try:
        idle = os.environ.get("ATOLL_SPAWNER_IDLE") or str(IDLE_SECONDS)
        words = ("spawner", path, f"{run_root}/{LOCK_FILE}", idle, data_root)
        _launch(run_root, listener, *words, *((door,) if door else ()))
        return connect_socket(path)
    except BaseException:
        files.unlink_if_present(path)
        raise
    finally:
        listener.close()


def _alone(run_root: str) -> Channel:
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        _launch(run_root, theirs, "monitor")
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Channel(ours)


def _launch(run_root: str, channel: socket, *args: str) -> None:
    """Execute the sealed interpreter with `boot.main(args)`, in a session of its own, `channel` as descriptor 3,
    standard error into the faults file, nothing of our environment. Returns at once; it forks to leave us."""
    import _signal  # type: ignore[import-not-found]
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    from atoll.base import launch
    from atoll.base.rollback import Rollback
    from atoll.monitor.boot import CHANNEL_FD
    from atoll.runtime.seal import sealed_python

    with Rollback() as undo:

        def lifted(fd: int) -> int:
            """Above the numbers that the file actions fill, of which this process may itself have closed some."""
            high = fcntl(fd, F_DUPFD_CLOEXEC, 10)
            undo.push(os.close, high)
            return high

        def owned(fd: int) -> int:
            undo.push(os.close, fd)
            return lifted(fd)

        sealed = owned(sealed_python())
        null = owned(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
        actions = [
            (os.POSIX_SPAWN_DUP2, null, 0),
            (os.POSIX_SPAWN_DUP2, null, 1),
            (os.POSIX_SPAWN_DUP2, owned(_open_faults(f"{run_root}/{FAULTS_FILE}")), 2),
            (os.POSIX_SPAWN_DUP2, lifted(channel.fileno()), CHANNEL_FD),
        ]
        pid = os.posix_spawn(
            f"/proc/self/fd/{sealed}",
            launch.argv(*args, module="atoll.monitor.boot"),
            {"LC_CTYPE": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)},
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=[number for number in range(1, 32) if number not in (_signal.SIGKILL, _signal.SIGSTOP)],
        )
        _children.append(pid)


_children: list[int] = []


def reap_starters() -> None:
    """Take in the short-lived first processes of what `connect` started; for callers that live long."""
    for pid in list(_children):
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                continue
        except ChildProcessError:  # somebody else waits for every child
            pass
        _children.remove(pid)


def _open_faults(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    if os.fstat(fd).st_size > FAULTS_MAX:
        os.ftruncate(fd, 0)
    return fd
