"""Starting and driving the unpacking process.

Holds: `Worker`, `remove_trees`. Does not hold: what that process does (`unpacker.py`).

    this side                                      unpacker (exec'd, single-threaded at first)
    1  socketpair(SEQPACKET), exec   ───────────▶
    2  {"idmap": …|null, "unpacks"}  ───────────▶  enters the user namespace, becomes its root
                                     ◀───────────  {"ready"} or {"error"}; loads what unpacking takes, if it "unpacks"
    3  {"do": "unpack", …} + fds     ───────────▶  blob, directory; unpacks while the blob is still growing
       {"job", "available": n}       ───────────▶  so many bytes of it are there now          (any number)
                                     ◀───────────  {"progress": n}                            (any number)
                                     ◀───────────  {"more"}, {"done", "diff_id"} or {"error"}
                                                   (all of 3 in a child that is shut into the directory)
    4  {"do": "adopt"|"mark"|"remove"|…} ─  ─▶
                                     ◀───────────  {"done"} or {"error"}
    5  close                         ───────────▶  exits

Whatever goes wrong, the process is killed and the staged directory thrown away.
"""

from __future__ import annotations

import _socket
import _thread
import os
import select
import sys

from atoll.base import errors
from atoll.base.value import fields
from atoll.snapshots.channel import Ended, heard, tell
from atoll.snapshots.policy import ApplyPolicy, ApplyResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any, Self

    from atoll.spec.idmap import RootlessMap

# Packages that the caller has not asked for yet may lie where only `site` knows.
_BOOT = (
    "import sys; sys.path[:0] = sys.argv[2:]; from atoll.base.launch import find_late; find_late(); "
    "from atoll.snapshots.unpacker import main; main(int(sys.argv[1]))"
)


class Worker:
    """One unpacking process. `feed` and `kill` may be called from another thread than the one that waits.

    It starts while its maker goes on: whatever hinders it is raised by the first job. `unpacks`: it is for layers,
    and loads beforehand what they take.
    """

    def __init__(self, idmap: RootlessMap | None = None, *, unpacks: bool = False) -> None:
        self.idmap = idmap
        self._job = 0
        self._ready = False
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            self._process = _Process(theirs.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours
        try:
            self._tell({"idmap": idmap.to_json() if idmap else None, "unpacks": unpacks})
        except BaseException:
            self.kill()
            raise

    def unpack(
        self,
        blob_fd: int,
        size: int,
        root_fd: int,
        policy: ApplyPolicy,
        *,
        path: str,
        held: int,
        blob: str | None = None,
        available: Callable[[], int],
        progress: Callable[[int], None] | None = None,
    ) -> tuple[ApplyResult, str]:
        """Unpack a blob of `size` bytes into a directory, `root_fd`, which is at `path`; returns the result and the
        diffID of what was unpacked.

        `blob` is the blob's digest, if the caller holds the bytes against it before anything of this counts.
        `available` says how many bytes are there; `feed` tells later ones. `held` is the staging directory's lock:
        the process keeps it too, so that nobody sweeps the directory while it still writes. Raises AtollError.
        """
        wire = {name: getattr(policy, name) for name in fields(policy)}
        job = {"do": "unpack", "job": self._job, "size": size, "blob": blob, "policy": wire, "path": path}
        self._send({**job, "available": available()}, [blob_fd, root_fd, held])
        lists: dict[str, list[str]] = {"implicit": [], "marks": []}
        self.feed(available())  # what came in between the question and the message
        while True:
            answer = self._receive()
            if "progress" in answer:
                if progress is not None:
                    progress(answer["progress"])
                continue
            if "more" in answer:
                lists[answer["more"]] += answer["items"]
                continue
            self._job += 1
            for start in range(0, len(lists["marks"]), 40):
                part = lists["marks"][start : start + 40]
                self.ask({"do": "mark", "paths": part, "attribute": policy.opaque_xattr}, [root_fd])
            facts = {**answer["done"], **{name: tuple(items) for name, items in lists.items()}}
            return ApplyResult(**facts), str(answer["diff_id"])

    def feed(self, available: int) -> None:
        """Tell that so many bytes of the blob are there now. Never raises: the waiting thread sees a dead process."""
        try:
            self._tell({"job": self._job, "available": available})
        except OSError:
            pass

    def adopt(self, root_fd: int, parents: Sequence[int], paths: Sequence[str]) -> None:
        """Let implied directories have the attributes of the layers below (at most 200 of them are asked)."""
        single = self.idmap is not None and self.idmap.single
        for start in range(0, len(paths), 500):
            part = list(paths[start : start + 500])
            self._send({"do": "adopt", "paths": part, "single": single}, [root_fd, *parents[:200]])
            self._receive()

    def remove(self, paths: Sequence[str]) -> None:
        """Remove trees with the rights of the id map's root."""
        self._send({"do": "remove", "paths": list(paths)})
        self._receive()

    def ask(self, message: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        """A job that answers once, with facts (`differ.py`). Raises AtollError."""
        self._send(message, fds)
        return dict(self._receive()["done"])

    def kill(self) -> None:
        """End the process at once; idempotent. Its child, which writes the files, dies with it (`confine.py`), and
        has when this returns: whoever removes what was unpacked removes all of it."""
        self._process.kill()
        if self._socket.fileno() >= 0:
            poll = select.poll()
            poll.register(self._socket, 0)  # POLLHUP alone: the last process that held the other end is gone
            poll.poll(5000)
        self._socket.close()

    def close(self) -> None:
        """Let the process end by itself; kill it when it does not."""
        self._socket.close()
        if self._process.wait(5) is None:
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.kill()

    def _send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """A job. The first one waits until the process is what it is to be."""
        if not self._ready:
            self._receive()
            self._ready = True
        self._tell(message, fds)

    def _tell(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        tell(self._socket, message, fds)

    def _receive(self) -> dict[str, Any]:
        try:
            return heard(self._socket)
        except Ended:
            raise self._died() from None

    def _died(self) -> errors.AtollError:
        status = self._process.wait(5)
        hint = "the kernel may have been out of memory" if status == -9 else None
        return errors.Internal(f"the unpacking process ended early (status {status or 0})", hint=hint)


class _Process:
    """The executed interpreter, with its end of the socket as descriptor 3. Not by `subprocess`: 13 ms to import."""

    def __init__(self, fd: int) -> None:
        actions = [
            (os.POSIX_SPAWN_DUP2, fd, 3),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
        ]
        arguments = _arguments(3)
        self._pid = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions)
        self._pidfd = os.pidfd_open(self._pid)
        self._status: int | None = None
        self._lock = _thread.allocate_lock()

    def wait(self, seconds: float) -> int | None:
        """How it ended, as `os.waitstatus_to_exitcode` has it; None if it has not within that time."""
        with self._lock:
            if self._status is not None:
                return self._status
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            if not poll.poll(seconds * 1000):
                return None
            self._reap()
            return self._status

    def kill(self) -> None:
        """End it, if it has not ended. Twice is fine."""
        with self._lock:
            if self._status is None:
                os.kill(self._pid, 9)
                self._reap()

    def _reap(self) -> None:
        try:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        except ChildProcessError:  # whoever started us ignores SIGCHLD: the kernel has buried it
            self._status = 0
        os.close(self._pidfd)


def _arguments(fd: int) -> list[str]:
    """An interpreter without site and environment that finds this very package, and the packages it uses."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = [here, *[entry for entry in sys.path if entry and entry != here]]
    return [sys.executable, "-SIc", _BOOT, str(fd), *path, *[one for one in _installed() if one not in path]]


def _installed() -> list[str]:
    """Where packages are installed for this interpreter, in a virtual environment or by the distribution: named, so
    that looking for isal and zstandard there takes no `site` (10 ms)."""
    prefix = os.path.dirname(os.path.dirname(sys.executable))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    usual = (f"lib/{version}/site-packages", f"local/lib/{version}/dist-packages", "lib/python3/dist-packages")
    return [path for one in usual if os.path.isdir(path := f"{prefix}/{one}")]


def remove_trees(paths: Sequence[str], idmap: RootlessMap) -> None:
    """Remove trees whose files belong to ids of the map, which only a process inside can. Raises AtollError."""
    with Worker(idmap) as worker:
        worker.remove(paths)
