"""A writable layer that is a full copy of the merged layers: for hosts whose kernel has no overlay to give.

Holds: `fill` (make one), `changes` and `write_layer` (what a container changed of it), `since` (whether one is a
copy, and from when on a change is the container's). Does not hold: which driver is used (`driver.py`), archives
(`packing.py`). The copy is made, and read, by the process inside the id map (`differ.py`).

    <writable>/upper     the copy: the container's root, bound
    <writable>/copied    made after it: bytes of files that were copied. Its time is later than that of any file

A file is the container's change when it is not as the layers have it, or when its status changed (ctime) since the
copy was made: an overlay would have copied it up for the same system calls.
"""

from __future__ import annotations

import os
import stat
import time

from atoll.base import files
from atoll.linux.copyfile import copy_contents
from atoll.snapshots import diff, packing, tar
from atoll.snapshots.diff import ADDED, CHANGED, DELETED, Change, LayerFacts, Writing
from atoll.snapshots.packing import Member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from atoll.snapshots.store import Snapshots

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MARKS = ("trusted.overlay.", "user.overlay.", "security.selinux")


def fill(snapshots: Snapshots, key: str, chain_ids: Sequence[str]) -> None:
    """Copy the merged layers (bottom first) into the fresh writable layer `key`. A kill on the way leaves one without
    its mark, which belongs to a container half made. Raises NotFound, Exhausted, AtollError."""
    from atoll.snapshots.worker import Worker

    writable = snapshots.writable(key)
    lower = snapshots.plan(chain_ids).lower
    with Worker(snapshots.idmap) as worker:
        done = worker.ask({"do": "copy", "upper": writable.upper, "lower": lower})
    # Kernels take a file's time from a clock of some milliseconds: wait until the mark is later than all files.
    last = os.stat(writable.upper).st_ctime_ns
    mark = writable.path + "/copied"
    files.write_file(mark, str(done["data"]), flags=os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    while os.stat(mark).st_ctime_ns <= last:
        time.sleep(0.001)
        os.utime(mark)


def since(path: str) -> int | None:
    """When the copy in the writable layer at `path` was complete (nanoseconds); None for one that is no copy."""
    try:
        return os.stat(path + "/copied").st_ctime_ns
    except FileNotFoundError:
        return None


def copied_bytes(path: str) -> int:
    """How many bytes of files the copy began with; 0 for a writable layer that is no copy."""
    try:
        return int(files.read_bytes(path + "/copied"))
    except (FileNotFoundError, ValueError):
        return 0


# --- making it ------------------------------------------------------------------------------------------------------


def copy_merged(lower: Sequence[int], target: int) -> int:
    """Copy what an overlay of `lower` (topmost first) shows into the empty directory `target`: kinds, owners, modes,
    times, attributes, holes, hard links within a layer. Returns bytes of files. Raises OSError."""
    copying = _Copying(target)
    if lower:
        copying.directory([os.dup(fd) for fd in lower], target, b"")
        copying.attributes(lower[0], target)
    return copying.data


class _Copying:
    def __init__(self, target: int) -> None:
        self._target = target
        self._links: dict[tuple[int, int], bytes] = {}
        self.data = 0

    def directory(self, below: list[int], into: int, path: bytes) -> None:
        """All that is in a directory; owns `below`."""
        try:
            for name in sorted({os.fsencode(one) for fd in below for one in os.listdir(fd)}):
                found = _first(below, name)
                if found is None:
                    continue
                source, info = found
                if not stat.S_ISDIR(info.st_mode):
                    self._file(source, into, name, path + b"/" + name, info)
                    continue
                inner = diff.open_below(below, name)
                top = os.dup(inner[0])
                try:
                    os.mkdir(name, 0o700, dir_fd=into)
                    made = os.open(name, _DIRECTORY, dir_fd=into)
                    try:
                        self.directory(inner, made, path + b"/" + name)
                        self.attributes(top, made)
                    finally:
                        os.close(made)
                finally:
                    os.close(top)
        finally:
            for fd in below:
                os.close(fd)

    def _file(self, source: int, into: int, name: bytes, path: bytes, info: os.stat_result) -> None:
        first = self._links.get((info.st_dev, info.st_ino)) if info.st_nlink > 1 else None
        if first is not None:
            # Nobody but this process works in the copy: the path is what it was when it was made.
            os.link(first, name, src_dir_fd=self._target, dst_dir_fd=into, follow_symlinks=False)
            return
        if info.st_nlink > 1 and len(path) < 4096:
            self._links[info.st_dev, info.st_ino] = path[1:]
        if stat.S_ISREG(info.st_mode):
            self._regular(source, into, name)
            return
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=into)
        elif packing.kind_of(info.st_mode) is None:
            return  # a socket: no layer has one
        else:
            os.mknod(name, info.st_mode, info.st_rdev, dir_fd=into)
        os.chown(name, info.st_uid, info.st_gid, dir_fd=into, follow_symlinks=False)
        if not stat.S_ISLNK(info.st_mode):
            os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=into)
        os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=into, follow_symlinks=False)

    def _regular(self, source: int, into: int, name: bytes) -> None:
        old = os.open(name, _FILE, dir_fd=source)
        try:
            new = os.open(name, _NEW, 0o600, dir_fd=into)
            try:
                copy_contents(old, new)
                self.attributes(old, new)
            finally:
                os.close(new)
            self.data += os.fstat(old).st_size
        finally:
            os.close(old)

    def attributes(self, source: int, target: int) -> None:
        """Owner first: it takes capabilities and set-id bits away; the time last."""
        info = os.fstat(source)
        os.fchown(target, info.st_uid, info.st_gid)
        for attribute in os.listxattr(source):
            if not attribute.startswith(_MARKS):
                os.setxattr(target, attribute, os.getxattr(source, attribute))
        os.fchmod(target, stat.S_IMODE(info.st_mode))
        os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


def _first(below: Sequence[int], name: bytes) -> tuple[int, os.stat_result] | None:
    """The topmost layer that has the name, unless that removes it."""
    for fd in below:
        try:
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        return None if diff.is_whiteout(info) else (fd, info)
    return None


# --- what changed ---------------------------------------------------------------------------------------------------


class _Found:
    """A change: the path, its kind, what it is now, the directories above it, outermost first and without the root
    (path and descriptor, which live until the next change is asked for), and its own directory's descriptor."""

    __slots__ = ("above", "info", "kind", "parent_fd", "path")

    def __init__(self, path: bytes, kind: str, walk: _Walk, info: os.stat_result | None) -> None:
        self.path = path
        self.kind = kind
        self.info = info
        self.above = walk.above
        self.parent_fd = walk.above[-1][1] if walk.above else walk.top


class _Walk:
    """The copy's root, the directories in which the walk is, when the copy was made, and the engine's own places."""

    __slots__ = ("above", "moment", "skip", "top")

    def __init__(self, top: int, moment: int, skip: frozenset[str]) -> None:
        self.top = top
        self.above: list[tuple[bytes, int]] = []
        self.moment = moment
        self.skip = skip


def changes(upper: int, lower: Sequence[int], *, moment: int, skip: frozenset[str] = frozenset()) -> list[Change]:
    """What the copy `upper` changed of the layers `lower` since `moment`; like `diff.changes`. Raises OSError."""
    found: dict[bytes, str] = {}
    for one in _walk(_Walk(upper, moment, skip), upper, lower, b""):
        found[one.path] = one.kind
        parent = one.path.rpartition(b"/")[0]
        while parent and parent not in found:
            found[parent] = CHANGED
            parent = parent.rpartition(b"/")[0]
    return [Change(kind=kind, path=os.fsdecode(path)) for path, kind in sorted(found.items())]


def write_layer(
    upper: int,
    out: Callable[[bytes], object],
    lower: Sequence[int],
    *,
    moment: int,
    skip: frozenset[str] = frozenset(),
    latest: int | None = None,
) -> LayerFacts:
    """Write those changes as a layer; like `diff.write_layer`. Raises OSError."""
    writing = Writing(out, latest, None, skip, layer=True)
    written: set[bytes] = set()
    for one in _walk(_Walk(upper, moment, skip), upper, lower, b""):
        parent, _, name = one.path.rpartition(b"/")
        for path, fd in one.above:  # as an overlay would have copied them up: a layer says what its directories are
            if path not in written:
                written.add(path)
                writing.tar.add(writing.member(path[1:] + b"/", os.fstat(fd), tar.DIRECTORY, fd))
        if one.info is None:
            writing.tar.add(Member(name=(parent + b"/.wh." + name)[1:], kind=tar.REGULAR, mode=0))
        elif name.startswith(b".wh.") or diff.is_whiteout(one.info):  # in a layer it would mean something else
            writing.omitted += 1
        elif stat.S_ISDIR(one.info.st_mode):
            written.add(one.path)
            fd = os.open(name, _DIRECTORY, dir_fd=one.parent_fd)
            try:
                writing.tar.add(writing.member(one.path[1:] + b"/", one.info, tar.DIRECTORY, fd))
            finally:
                os.close(fd)
        else:
            writing.file(one.parent_fd, name, one.path, one.info)
    return writing.finish()


def _walk(walk: _Walk, upper: int, below: Sequence[int], path: bytes) -> Iterator[_Found]:
    """All changes, sorted, a directory before what is in it."""
    here = {os.fsencode(name) for name in os.listdir(upper)}
    there = {os.fsencode(name) for fd in below for name in os.listdir(fd)}
    for name in sorted(here | there):
        inner_path = path + b"/" + name
        found = _first(below, name)
        old = found[1] if found else None
        if name not in here:
            if old is not None:
                yield _Found(inner_path, DELETED, walk, None)
            continue
        info = os.stat(name, dir_fd=upper, follow_symlinks=False)
        if old is None and os.fsdecode(inner_path) in walk.skip and diff.is_empty(upper, name, info):
            continue
        both = old is not None and stat.S_ISDIR(old.st_mode) and stat.S_ISDIR(info.st_mode)
        if old is None:
            yield _Found(inner_path, ADDED, walk, info)
        elif _is_changed(old, info, walk.moment, times=not diff.holds(inner_path, walk.skip)):
            yield _Found(inner_path, CHANGED, walk, info)
        if not stat.S_ISDIR(info.st_mode):
            continue
        inner = diff.open_below(below, name) if both else []
        fd = os.open(name, _DIRECTORY, dir_fd=upper)
        walk.above.append((inner_path, fd))
        try:
            yield from _walk(walk, fd, inner, inner_path)
        finally:
            walk.above.pop()
            for one in (fd, *inner):
                os.close(one)


def _is_changed(old: os.stat_result, new: os.stat_result, moment: int, *, times: bool) -> bool:
    if stat.S_ISDIR(new.st_mode):
        return diff.differs(old, new, times=times)
    return new.st_ctime_ns >= moment or new.st_size != old.st_size or diff.differs(old, new)
