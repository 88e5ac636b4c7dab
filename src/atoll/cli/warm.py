"""The spawner's door: runs a whole command in a fork of the spawner, on the descriptors of whoever asked.

Holds: `open_door` (in the spawner), `serve` (in a fork). Does not hold: the asking side (`quick.py`), the spawner
(`monitor/spawner.py`, which knows this room by name only).

    quick.py, in the user's process                    warm.py, in a fork of the spawner
    (1) descriptors 0-2, cwd, a pipe's reading end;
        directory of the package, arguments,
        environment                              ──►   (2) who asks, and from where: same user, namespaces, rights,
                                                           cgroup where it matters, package and store as here?
                                                 ◄──   (3) "w" with a pidfd; or "c": run it yourself
    (4) signals, by pidfd                        ──►
                                                       (5) takes on what it was given, runs `main`,
                                                           lets go of every file
    (6) exit code                                ◄──
    killed: the pipe hangs up                    ──►   SIGKILL, by the kernel itself (fcntl(2), F_SETSIG)

A command that runs here differs from one in a process of its own in nothing that a user can see but the time that it
takes: whatever cannot be taken over (a higher hard limit, another seccomp filter) is a reason to decline. Nothing has
been done before (3), so that whoever gets no "w" may do it all himself; after it nobody does it again.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import gc
import os
import resource
import sys
import time
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from _struct import pack, unpack
from fcntl import F_GETFL, F_SETFL, F_SETOWN, fcntl

from atoll.base import errors, launch
from atoll.cli import thin
from atoll.cli.quick import DOOR, VERSION, WARM
from atoll.engine import paths
from atoll.engine.config import Config
from atoll.engine.containers import defaults
from atoll.linux import memory, signals
from atoll.linux.title import set_title
from atoll.monitor import sockets
from atoll.monitor.spares import COMMAND
from atoll.runtime import seccomp, usual

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.monitor.spares import Spare

F_SETSIG = 10  # include/uapi/asm-generic/fcntl.h; the module `fcntl` has it from 3.12 on only on some hosts
O_ASYNC = 0o20000
REQUEST_MAX = 8 << 20
RLIMITS = 16
FD_LAST = 0x7FFFFFFF
_FDS = 5
_IGNORED = (signals.SIGPIPE, 25)
"""Those that an interpreter ignores from its start: SIGPIPE and SIGXFSZ (the thin client is none)."""
_MOVING = frozenset(("run", "start", "restart", "exec", "container"))
"""Commands that put a process into a cgroup, most of them."""
_SPACES = ("mnt", "user", "net", "pid", "cgroup", "ipc", "uts", "time")
_RIGHTS = (b"Uid", b"Gid", b"Groups", b"CapInh", b"CapPrm", b"CapEff", b"CapBnd", b"CapAmb", b"NoNewPrivs",
           b"Seccomp", b"Seccomp_filters")  # fmt: skip
_UNFIT = (OSError, ValueError, IndexError, KeyError, errors.AtollError)
# Loaded ahead: what the common commands import, the rest comes when asked for.
_LOADED = (
    "atoll.cli.main",
    "atoll.cli.run",
    "atoll.cli.exec",
    "atoll.cli.foreground",
    "atoll.cli.streams",
    "atoll.cli.wiring",
    "atoll.cli.ps",
    "atoll.cli.listing",
    "atoll.cli.start",
    "atoll.cli.wait",
    "atoll.cli.images",
    "atoll.cli.template",
    "atoll.cli.template_functions",
    "atoll.cli.stop",
    "atoll.cli.kill",
    "atoll.cli.rm",
    "atoll.cli.logs",
    "atoll.cli.inspect",
    "atoll.cli.pull",
    "atoll.cli.registry_flags",
    "atoll.cli.display",
    "atoll.cli.each",
    "atoll.cli.signal_names",
    "atoll.engine.containers.create",
    "atoll.engine.containers.attach",
    "atoll.engine.containers.exec",
    "atoll.engine.containers.filters",
    "atoll.engine.containers.inspect",
    "atoll.engine.containers.kill",
    "atoll.engine.containers.launch",
    "atoll.engine.containers.list",
    "atoll.engine.containers.logs",
    "atoll.monitor.log_reading",
    "atoll.engine.containers.remove",
    "atoll.engine.containers.start",
    "atoll.engine.containers.stop",
    "atoll.engine.containers.wait",
    "atoll.engine.networks.helpers",
    "atoll.engine.networks.launching",
    "atoll.engine.networks.repair",
    "atoll.engine.networks.settle",
    "atoll.engine.engine",
    "atoll.engine.images.admission",
    "atoll.engine.images.resolve",
    "atoll.engine.images.filters",
    "atoll.engine.images.inspect",
    "atoll.engine.images.list",
    "atoll.engine.images.pull",
    "atoll.engine.images.registries",
    "atoll.images.content",
    "atoll.images.host",
    "atoll.images.places",
    "atoll.images.pull",
    "atoll.images.remote",
    "atoll.isolation.container",
    "atoll.runtime.kill",
    "atoll.runtime.seccomp.arches",
    "atoll.runtime.seccomp.profile",
    "atoll.snapshots.store",
    "atoll.spec.image",
    "_sqlite3",
    "json",
)


class _Declined(ValueError):
    """The command is better run where it was given."""


class Door:
    """What the spawner knows of itself when it opens its door; a fork compares with it whoever asks."""

    def __init__(self, run_root: str, data_root: str) -> None:
        for name in _LOADED:
            __import__(name)
        self.run_root, self.data_root = run_root, data_root
        self.path = run_root + DOOR.decode()
        self.place = _place(os.getpid())
        self.directory = launch.directory()
        thin.keep(self.directory)
        # What most containers are to have, for all forks.
        usual.expect(defaults.mounts(shm_size=Config().shm_size, terminals_group=True))
        try:
            seccomp.keep(
                frozenset(defaults.ATOLL_CAPABILITIES), paths.Paths(data=data_root, run=run_root).seccomp_cache
            )
        except errors.AtollError:  # each container's own creator says so
            pass
        self.files = _files()
        self.sources = _looks(self.files)
        # What was edited since we began may be loaded half: then nothing is ever the same as here.
        if max([changed for changed, _ in self.sources]) > _began():
            self.sources = []

    def serve(self, connection: int, spare: Spare | None) -> None:
        """Do one command, in a fork that has no other descriptor of interest; `spare` if that was made beforehand."""
        peer = socket(AF_UNIX, SOCK_STREAM, 0, connection)
        try:
            sockets.check_peer(peer)
            request = _receive(peer)
            if request is None:
                return
            words, fds = request
            try:
                argv = self._take_on(peer, words, fds)
            except _UNFIT:
                peer.sendall(b"c")
                return
            if spare is not None and argv[0] in _MOVING:
                spare.prime()
            me = os.pidfd_open(os.getpid())
            peer.sendmsg([b"w"], [(SOL_SOCKET, SCM_RIGHTS, pack("i", me))])
            os.close(me)
        except (OSError, errors.AtollError):
            return
        set_title(b"atoll:[command] " + argv[0].encode("utf-8", "surrogateescape"))
        code = _run(argv)
        if spare is not None:
            spare.learn(COMMAND)  # while whoever asked is still there: with him goes this process
        try:
            _let_go(peer.fileno())
            peer.sendall(bytes((code & 0xFF,)))
        finally:
            os._exit(0)  # at once: what was unmapped is not to be looked at again, not even by a destructor

    def _take_on(self, peer: socket, words: list[bytes], fds: list[int]) -> list[str]:
        """Become what the asking process is. Nothing here is undone: it happens in a fork that ends if it fails."""
        pid = unpack("3i", peer.getsockopt(SOL_SOCKET, 17, 12))[0]  # SO_PEERCRED
        if words[0] != VERSION or words[1].decode() != self.directory or len(fds) != _FDS:
            raise _Declined
        count = int(words[2])
        argv = [word.decode("utf-8", "surrogateescape") for word in words[3 : 3 + count]]
        environ = words[3 + count :]
        if argv[0] not in WARM or pid <= 0 or _place(pid) != self.place or _looks(self.files) != self.sources:
            raise _Declined
        # 1. Its directory and its environment, which say which store it means.
        os.fchdir(fds[3])
        os.close(fds[3])
        os.environ.clear()
        for one in environ:
            name, _, value = one.partition(b"=")
            os.environb[name] = value
        roots = paths.locate(os.environ, os.geteuid())
        if (roots.data, roots.run) != (self.data_root, self.run_root) or not _speaks_utf8():
            raise _Declined
        time.tzset()
        # 2. Limits, umask, what it ignores.
        status = _status(pid)
        for number in range(RLIMITS):
            wanted = resource.prlimit(pid, number)
            if resource.getrlimit(number) != wanted:
                resource.setrlimit(number, wanted)
        os.umask(int(status[b"Umask"], 8))
        ignored = int(status[b"SigIgn"], 16)
        for number in range(1, 32):
            if number not in (signals.SIGKILL, signals.SIGSTOP):
                is_ignored = ignored >> (number - 1) & 1 or number in _IGNORED
                _signal.signal(number, _signal.SIG_IGN if is_ignored else _signal.SIG_DFL)
        # 3. Its end is ours: the pipe's other end closes with the process, however it dies.
        fcntl(fds[4], F_SETOWN, os.getpid())
        fcntl(fds[4], F_SETSIG, signals.SIGKILL)
        fcntl(fds[4], F_SETFL, fcntl(fds[4], F_GETFL) | O_ASYNC | os.O_NONBLOCK)
        try:
            os.read(fds[4], 1)  # it has died already
            os._exit(0)
        except BlockingIOError:
            pass
        # 4. Its streams.
        for number in range(3):
            os.dup2(fds[number], number, inheritable=True)
            os.close(fds[number])
        if os.isatty(1):
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        return argv


def _run(argv: list[str]) -> int:
    """The command, with what the interpreter does at its end about the streams and what nobody caught."""
    from atoll.cli.main import main

    try:
        code = main(argv)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if code == 1 and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
    except KeyboardInterrupt:
        signals.default(signals.SIGINT)
        os.kill(os.getpid(), signals.SIGINT)
        code = 130
    except BaseException as fault:  # noqa: BLE001 - one of the edges: it is told as the interpreter would
        sys.__excepthook__(type(fault), fault, fault.__traceback__)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    return code


def _let_go(but: int) -> None:
    """Keep no file open, none mapped, and no directory but `/`, so that whoever has the answer may take down a file
    system that the command wrote to. The end itself does the same, but takes 1 to 2 ms for the memory first."""
    gc.disable()
    os.chdir("/")
    memory.unmap_shared()
    os.closerange(0, but)
    os.closerange(but + 1, FD_LAST)


def _receive(peer: socket) -> tuple[list[bytes], list[int]] | None:
    data, ancillary, _, _ = peer.recvmsg(65536, 256, MSG_CMSG_CLOEXEC)
    fds = [
        fd for level, kind, raw in ancillary if (level, kind) == (SOL_SOCKET, SCM_RIGHTS)
        for fd in unpack(f"{len(raw) // 4}i", raw[: len(raw) // 4 * 4])
    ]  # fmt: skip
    if len(data) < 4 or (size := int.from_bytes(data[:4], "little")) > REQUEST_MAX:
        return None
    while len(data) < 4 + size:
        more = peer.recv(1 << 20)
        if not more:
            return None
        data += more
    return data[4:].split(b"\0"), fds


def _place(pid: int) -> tuple[object, ...]:
    """Where a process is and what it may: equal for two that can do each other's work."""
    status = _status(pid)
    # Of the kinds that this kernel has: time namespaces, for one, are an option of its build.
    kinds = os.listdir("/proc/self/ns")
    spaces = [os.stat(f"/proc/{pid}/ns/{name}").st_ino for name in _SPACES if name in kinds]
    root = os.stat(f"/proc/{pid}/root")
    return (
        *spaces,
        root.st_dev,
        root.st_ino,
        # An ordinary user's rights over cgroups depend on where he is (`monitor/client.py`, `key`).
        _read(f"/proc/{pid}/cgroup") if os.geteuid() else b"",
        _label(pid),
        os.getpriority(os.PRIO_PROCESS, pid),
        os.sched_getaffinity(pid) == os.sched_getaffinity(0),
        *[status.get(name) for name in _RIGHTS],
    )


def _status(pid: int) -> dict[bytes, bytes]:
    lines = [line.partition(b":") for line in _read(f"/proc/{pid}/status").splitlines()]
    return {name: value.strip() for name, _, value in lines}


def _label(pid: int) -> bytes:
    try:
        return _read(f"/proc/{pid}/attr/current")
    except OSError:  # no security module
        return b""


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


def _speaks_utf8() -> bool:
    """Whether the caller's locale is one in which this interpreter would have been started the same."""
    value = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "C"
    return value in ("C", "POSIX") or "utf8" in value.lower().replace("-", "")


def _files() -> list[str]:
    """The files that what is loaded of the package came from."""
    found = [getattr(module, "__file__", None) for name, module in sorted(sys.modules.items()) if name[:5] == "atoll"]
    return [path for path in found if path]


def _looks(paths: list[str]) -> list[tuple[int, int]]:
    """What tells that the package was replaced or edited: time and size of each file."""
    return [(found.st_mtime_ns, found.st_size) for found in map(os.stat, paths)]


def _began() -> int:
    """When this process was executed or forked, by the real-time clock, nanoseconds, to a hundredth of a second."""
    stat = _read("/proc/self/stat")
    ticks = int(stat[stat.rindex(b")") + 2 :].split()[19])
    age = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return time.time_ns() - age


def open_door(run_root: str, data_root: str) -> tuple[str, Callable[[int, Spare | None], None]]:
    """Load what commands need. Returns the path at which to listen, and what serves a connection in a fork."""
    door = Door(run_root, data_root)
    return door.path, door.serve
