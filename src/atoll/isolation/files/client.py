"""Starting and driving the process that copies.

Holds: `Files`. Does not hold: what that process does (`runtime/files/confined.py`).

    this side                                       confined process (exec'd, one thread)
    1  socketpair(SEQPACKET), exec    ───────────▶  imports all it will ever need
    2  {"pid"} + pidfd, or
       {"root", "mounts", "idmap", …} ───────────▶  joins the container's namespaces, or mounts its root
                                      ◀───────────  {"ready"} or {"error"}
    3  {"do": "stat"|"get"|"put", …}
       + a descriptor of the archive  ───────────▶  reads or writes it to its end
                                      ◀───────────  {"done": …} or {"error"}            (any number of times)
    4  close                          ───────────▶  exits, and with it whatever it mounted
"""

from __future__ import annotations

import _socket
import os
import sys

from atoll.base import errors
from atoll.base.rollback import Rollback
from atoll.base.value import Value
from atoll.snapshots.channel import Ended, heard, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any, Self

    from atoll.isolation.protocol import ContainerPlan
    from atoll.spec.idmap import RootlessMap

_BOOT = (
    "import sys; sys.path[:0] = sys.argv[2:]; from atoll.runtime.files.confined import main; main(int(sys.argv[1]))"
)


class Stat(Value):
    """What is at a path: `mode` with the kind, `mtime` in nanoseconds, `target` of a link."""

    mode: int
    size: int
    mtime: int
    target: str


class Files:
    """A container's files. Paths are absolute in it. Closed with its block. Raises AtollError."""

    def __init__(self, hello: dict[str, Any], fds: Sequence[int]) -> None:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        with Rollback() as undo:
            undo.push(ours.close)
            try:
                self._process = _spawn(theirs.fileno())
            finally:
                theirs.close()
            undo.push(self._process.wait)
            undo.push(self._process.kill)
            self._socket = ours
            self._send(hello, fds)
            self._receive()
            undo.release()

    @classmethod
    def of_running(cls, run: str, *, bare: bool = False) -> Self:
        """Of a container with processes; `bare` without what is mounted on its root. Raises NotFound when it has
        ended meanwhile."""
        from atoll.runtime import state

        known = state.read(run)
        pidfd = state.open_init(known)
        if pidfd is None:
            raise errors.NotFound("the container has ended meanwhile")
        try:
            return cls({"pid": known.pid, "bare": bare}, [pidfd])
        finally:
            os.close(pidfd)

    @classmethod
    def of_plan(cls, plan: ContainerPlan, idmap: RootlessMap | None, place: str, *, bare: bool = False) -> Self:
        """Of a container without processes: its root, and unless `bare` what is bound into it, are mounted for as
        long as this lives, by nobody seen, at the directory `place`. Nobody may start it meanwhile. A source that is
        not there now (what only a start makes) is left out."""
        from atoll.runtime.rootfs import is_bind
        from atoll.spec.codec import dump

        if plan.root is None:
            raise errors.Unsupported("the container's root is a bundle's directory: copy from there")
        binds = [entry for entry in plan.spec.mounts if is_bind(entry) and not bare]
        binds = [entry for entry in binds if os.path.exists(os.path.join(plan.bundle, entry.source or ""))]
        hello = {
            "root": plan.root.to_json(),
            "mounts": [dump(entry) for entry in binds],
            "idmap": idmap.to_json() if idmap else None,
            "bundle": plan.bundle,
            "place": place,
        }
        return cls(hello, ())

    def stat(self, path: str, *, follow: bool) -> Stat:
        """What is there. Raises NotFound."""
        return Stat(**self._ask({"do": "stat", "path": path, "follow": follow}))

    def send_get(self, path: str, out: int, *, arcname: str, follow: bool, one_mount: bool = False) -> None:
        """Ask for an archive of `path` into the descriptor `out`; `finish` waits for its end."""
        message = {"do": "get", "path": path, "arcname": arcname, "follow": follow, "one_mount": one_mount}
        self._send(message, [out])

    def send_put(self, path: str, source: int, *, about: dict[str, Any] | None, archive: bool) -> None:
        """Ask for the archive in the descriptor `source` to be written at `path`; `about` describes what was packed
        (`destination.Source`), None for an archive as such; `archive` keeps its owners. `finish` waits."""
        self._send({"do": "put", "path": path, "source": about, "archive": archive}, [source])

    def finish(self) -> dict[str, Any]:
        """The end of what was asked for: numbers of entries and bytes."""
        return dict(self._receive()["done"])

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self._send(message, ())
        return self.finish()

    def close(self) -> None:
        """End the process."""
        import subprocess

        self._socket.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self.close()

    def _send(self, message: dict[str, Any], fds: Sequence[int]) -> None:
        try:
            tell(self._socket, message, fds)
        except OSError:  # it has died: `_receive` tells
            pass

    def _receive(self) -> dict[str, Any]:
        try:
            return heard(self._socket)
        except Ended:
            raise errors.Internal("the copying process ended early", hint="dmesg may tell: out of memory?") from None


def _spawn(fd: int) -> subprocess.Popen[bytes]:
    """An interpreter without site and environment that finds this very package."""
    import subprocess

    here = os.path.abspath(__file__)
    for _ in range(4):
        here = os.path.dirname(here)
    return subprocess.Popen(
        [sys.executable, "-SIc", _BOOT, str(fd), here],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(fd,),
        env={"LC_CTYPE": "C.UTF-8"},
    )
