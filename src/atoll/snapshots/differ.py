"""The jobs of the unpacking process that read trees instead of making them (`diff.py` asks for them).

Holds: `JOBS`. Does not hold: what they find (`diff.py`).
"""

from __future__ import annotations

import os
import resource

from atoll.base import errors, files, jsontext
from atoll.base.value import fields
from atoll.snapshots import copying, diff, merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Any

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class _Opened:
    """The directories that a message names, open for the length of a block."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._fds: list[int] = []

    def __enter__(self) -> list[int]:
        # Each level of a walk holds a directory of every layer that has it.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        try:
            for path in self._paths:
                self._fds.append(os.open(path, _DIRECTORY))
        except BaseException:
            self.__exit__()
            raise
        return self._fds

    def __exit__(self, *how: object) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def _changes(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """The list goes to the file `fds[0]`: it may be longer than a message."""
    with _Opened([message["upper"], *message["lower"]]) as (upper, *lower):
        skip, moment = frozenset(message["skip"]), message["copied"]
        if moment is None:
            _answer(fds[0], diff.changes(upper, lower, skip=skip))
        else:
            _answer(fds[0], copying.changes(upper, lower, moment=moment, skip=skip))
    return {"done": {}}


def _compare(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    with _Opened(message["old"]) as old, _Opened(message["new"]) as new:
        _answer(fds[0], merged.compare(old, new))
    return {"done": {}}


def _answer(fd: int, changes: list[diff.Change]) -> None:
    files.write_all(fd, jsontext.dumps([[one.kind, one.path] for one in changes]).encode())


def _layer(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    skip, latest = frozenset(message["skip"]), message["latest"]
    with _Opened([message["upper"], *message["lower"]]) as (upper, *lower), _writer(fds[0]) as out:
        moment = message["copied"]
        if moment is None:
            facts = diff.write_layer(upper, out.write, lower, skip=skip, latest=latest)
        else:
            facts = copying.write_layer(upper, out.write, lower, moment=moment, skip=skip, latest=latest)
    return {"done": {name: getattr(facts, name) for name in fields(facts)}}


def _copy(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    with _Opened([message["upper"], *message["lower"]]) as (upper, *lower):
        return {"done": {"data": copying.copy_merged(lower, upper)}}


def _merged(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    with _Opened(message["lower"]) as lower, _writer(fds[0]) as out:
        facts = merged.write_merged(lower, out.write, latest=message["latest"])
    return {"done": {name: getattr(facts, name) for name in fields(facts)}}


def _erofs(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """The merged tree as an erofs image in the file `fds[0]`: the overlay is mounted where only a child sees it."""
    said, tell = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            _mkfs(message, fds[0], tell)
        except BaseException as error:  # noqa: BLE001 - nothing of the parent may go on here
            os.write(tell, str(error).encode()[:4000])
        finally:
            os._exit(1)
    os.close(tell)
    with os.fdopen(said, "rb") as stream:
        words = stream.read(64 << 10).decode("utf-8", "replace").strip()
    _, status = os.waitpid(child, 0)
    if status:
        raise errors.Unavailable(f"mkfs.erofs failed: {' '.join(words.split()) or status}")
    return {"done": {}}


def _mkfs(message: dict[str, Any], out: int, tell: int) -> None:
    from atoll.linux import mount as m
    from atoll.linux import process as p
    from atoll.linux.overlay import attach_overlay

    p.prctl(p.PR_SET_PDEATHSIG, 9)
    p.unshare(p.CLONE_NEWNS)
    m.set_propagation("/", m.MS_REC | m.MS_PRIVATE)
    target = os.open(message["place"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    attach_overlay(message["lower"], None, None, target, userxattr=bool(message["rootless"]))
    for fd in (1, 2):
        os.dup2(tell, fd)
    os.set_inheritable(out, True)
    # Fixed: the UUID. Times are the files' own; attributes of the layer beneath the overlay are not to be seen.
    # The image's own time is this, later times of files are cut to it: what is made does not tell when.
    environ = {"SOURCE_DATE_EPOCH": "4102444800"}
    argv = ["mkfs.erofs", "-x1", f"-U{message['uuid']}", f"/proc/self/fd/{out}", message["place"]]
    os.execve(message["tool"], argv, environ)


def _tree(_: object, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """A volume's directory as it is, into the file `fds[0]`."""
    with _Opened([message["path"]]) as (root,), _writer(fds[0]) as out:
        facts = diff.write_tree(root, out.write, volume=True)
    return {"done": {name: getattr(facts, name) for name in fields(facts)}}


def _writer(fd: int) -> IO[bytes]:
    return os.fdopen(os.dup(fd), "wb", buffering=1 << 20)


JOBS: dict[str, Callable[[Any, dict[str, Any], list[int]], dict[str, Any]]] = {
    "changes": _changes,
    "compare": _compare,
    "copy": _copy,
    "erofs": _erofs,
    "layer": _layer,
    "merged": _merged,
    "tree": _tree,
}
