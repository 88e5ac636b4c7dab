"""Several layers seen as the one tree that an overlay of them shows, without mounting it.

Holds: `walk`, `write_merged` (one archive of all), `compare` (what differs between two trees), for the store's own:
`merged_of`, `compared_of`. Does not hold: a container's changes (`diff.py`). Layers are given topmost first.
"""

from __future__ import annotations

import os
import stat

from atoll.snapshots import packing, tar
from atoll.snapshots.diff import (
    ADDED,
    CHANGED,
    DELETED,
    Change,
    LayerFacts,
    Writing,
    is_whiteout,
    open_below,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from atoll.snapshots.store import Snapshots


class Found:
    """A path of the merged tree: its name relative to the directory `parent_fd` of the layer that has it."""

    __slots__ = ("info", "name", "parent_fd", "path")

    def __init__(self, path: bytes, parent_fd: int, name: bytes, info: os.stat_result) -> None:
        self.path = path
        self.parent_fd = parent_fd
        self.name = name
        self.info = info


def walk(lower: Sequence[int], path: bytes = b"") -> Iterator[Found]:
    """Everything in order, a directory before what is in it. Raises OSError."""
    names = sorted({os.fsencode(name) for fd in lower for name in os.listdir(fd)})
    for name in names:
        found = _first(lower, name)
        if found is None:
            continue
        parent_fd, info = found
        yield Found(path + b"/" + name, parent_fd, name, info)
        if stat.S_ISDIR(info.st_mode):
            inner = open_below(lower, name)
            try:
                yield from walk(inner, path + b"/" + name)
            finally:
                for fd in inner:
                    os.close(fd)


def _first(lower: Sequence[int], name: bytes) -> tuple[int, os.stat_result] | None:
    for fd in lower:
        try:
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        return None if is_whiteout(info) else (fd, info)
    return None


def write_merged(lower: Sequence[int], out: Callable[[bytes], object], *, latest: int | None = None) -> LayerFacts:
    """The merged tree as one archive without any marks: a layer that can stand for all. Raises OSError."""
    writing = Writing(out, latest, None, frozenset(), layer=False)
    if lower:
        writing.root(lower[0])
    for one in walk(lower):
        if stat.S_ISDIR(one.info.st_mode):
            fd = os.open(one.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=one.parent_fd)
            try:
                writing.tar.add(writing.member(one.path[1:] + b"/", one.info, tar.DIRECTORY, fd))
            finally:
                os.close(fd)
        else:
            writing.file(one.parent_fd, one.name, one.path, one.info)
    return writing.finish()


def compare(old: Sequence[int], new: Sequence[int]) -> list[Change]:
    """What is added, changed (kind, mode, owner, size, time, link, device) and deleted from one tree to another."""
    before = {one.path: _facts(one) for one in walk(old)}
    changes = []
    for one in walk(new):
        facts = before.pop(one.path, None)
        if facts is None:
            changes.append(Change(kind=ADDED, path=os.fsdecode(one.path)))
        elif facts != _facts(one):
            changes.append(Change(kind=CHANGED, path=os.fsdecode(one.path)))
    gone = {path for path in before if path.rpartition(b"/")[0] not in before}
    changes += [Change(kind=DELETED, path=os.fsdecode(path)) for path in gone]
    return sorted(changes, key=lambda one: one.path)


def _facts(one: Found) -> tuple[object, ...]:
    info = one.info
    kind = packing.kind_of(info.st_mode)
    size = info.st_size if kind == tar.REGULAR else 0
    link = os.readlink(one.name, dir_fd=one.parent_fd) if kind == tar.SYMLINK else b""
    when = 0 if kind == tar.DIRECTORY else info.st_mtime_ns
    return info.st_mode, info.st_uid, info.st_gid, size, when, link, info.st_rdev


# --- layers of the store --------------------------------------------------------------------------------------------


def merged_of(
    snapshots: Snapshots, chain_ids: Sequence[str], out_fd: int, *, latest: int | None = None
) -> LayerFacts:
    """Write the merged tree of unpacked layers (bottom first) to `out_fd`. Raises NotFound, AtollError."""
    from atoll.snapshots.worker import Worker

    lower = snapshots.plan(chain_ids).lower
    with Worker(snapshots.idmap) as worker:
        return LayerFacts(**worker.ask({"do": "merged", "lower": lower, "latest": latest}, [out_fd]))


def compared_of(snapshots: Snapshots, old: Sequence[str], new: Sequence[str]) -> list[Change]:
    """What differs between two images' trees (chainIDs bottom first). Raises NotFound, AtollError."""
    from atoll.base import jsontext
    from atoll.snapshots.worker import Worker

    memory = os.memfd_create("changes", os.MFD_CLOEXEC)
    try:
        with Worker(snapshots.idmap) as worker:
            message = {"do": "compare", "old": snapshots.plan(old).lower, "new": snapshots.plan(new).lower}
            worker.ask(message, [memory])
        with os.fdopen(os.dup(memory), "rb") as stream:
            stream.seek(0)
            return [Change(kind=kind, path=path) for kind, path in jsontext.loads(stream.read())]
    finally:
        os.close(memory)
