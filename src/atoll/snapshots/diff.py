"""What a writable layer changes: the list that `diff` shows, and the archive that makes it a layer.

Holds: `changes`, `write_layer`, `write_tree` on descriptors; `changes_of`, `layer_of` for a container of the store.
Does not hold: the format of archives (`packing.py`), applying one (`apply.py`).

An overlay's upper directory speaks overlayfs's language: a 0:0 character device is a whiteout, a directory with the
opaque attribute hides all below it (Documentation/filesystems/overlayfs.rst). The lower layers are walked beside it,
so that a copied-up directory is not taken for a new one. Everything is reached by descriptors, nothing followed.

Files of other ids of an id map are read inside that map, in the process of `worker.py`; owners come out as the
container sees them.
"""

from __future__ import annotations

import os
import stat

from atoll.base import errors
from atoll.base.value import Value
from atoll.snapshots import packing, tar
from atoll.snapshots.packing import Member, TarWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from atoll.snapshots.store import Snapshots

ADDED, CHANGED, DELETED = "A", "C", "D"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque", "user.fuseoverlayfs.opaque")
_REDIRECT = ("trusted.overlay.redirect", "user.overlay.redirect")
_METACOPY = ("trusted.overlay.metacopy", "user.overlay.metacopy")
_FUSE_MARKS = (b".wh..opq", b".wh..wh..opq")  # fuse-overlayfs leaves them beside the attribute
_OVERRIDE = "user.containers.override_stat"
_PRIVATE = ("user.overlay.", "user.containers.", "user.fuseoverlayfs.")


class Change(Value):
    """A path as the container has it (`/etc/passwd`), and A, C or D for added, changed, deleted."""

    kind: str
    path: str


class LayerFacts(Value):
    """An archive that was written: its diffID, its bytes, entries and bytes of file contents. `omitted` counts what
    no layer can hold: sockets, and names that begin with `.wh.`."""

    diff_id: str
    size: int
    entries: int
    data: int
    omitted: int = 0


class _Place:
    """A directory of the upper with the same directory of the layers below, topmost first; owns the descriptors."""

    __slots__ = ("below", "fd", "path")

    def __init__(self, path: bytes, fd: int, below: list[int]) -> None:
        self.path = path
        self.fd = fd
        self.below = below

    def close(self) -> None:
        for fd in (self.fd, *self.below):
            os.close(fd)


def changes(upper: int, lower: Sequence[int], *, skip: frozenset[str] = frozenset()) -> list[Change]:
    """What `upper` changes of the layers `lower` (topmost first; all descriptors of directories), sorted by path.

    As Docker's: a directory in which something changed is itself changed. `skip` names paths that the engine makes
    (places of mounts), left out where they are new and empty. Raises OSError, Unsupported for an upper with renamed
    directories (`redirect_dir`).
    """
    found: dict[bytes, str] = {}
    for path, kind in _walk(_Place(b"", os.dup(upper), [os.dup(fd) for fd in lower]), skip):
        found[path] = kind
        parent = path.rpartition(b"/")[0]
        while parent and parent not in found:
            found[parent] = CHANGED
            parent = parent.rpartition(b"/")[0]
    return [Change(kind=kind, path=os.fsdecode(path)) for path, kind in sorted(found.items())]


def _walk(place: _Place, skip: frozenset[str]) -> Iterator[tuple[bytes, str]]:
    try:
        names = sorted(os.fsencode(name) for name in os.listdir(place.fd))
        for name in names:
            if name in _FUSE_MARKS:
                continue
            path = place.path + b"/" + name
            info = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
            old = _look_up(place.below, name)
            if is_whiteout(info):
                if old is not None:
                    yield path, DELETED
                continue
            if old is None and os.fsdecode(path) in skip and is_empty(place.fd, name, info):
                continue
            if not stat.S_ISDIR(info.st_mode):
                yield path, ADDED if old is None else CHANGED
                continue
            if old is None or not stat.S_ISDIR(old.st_mode):
                yield path, ADDED if old is None else CHANGED
            elif differs(old, info, times=not holds(path, skip)):
                yield path, CHANGED
            inner = _enter(place, name, path)
            hidden = _names_below(place, name) if _is_opaque(inner.fd) else []
            here = {os.fsencode(one) for one in os.listdir(inner.fd)}
            yield from [(path + b"/" + one, DELETED) for one in hidden if one not in here]
            yield from _walk(inner, skip)
    finally:
        place.close()


def _enter(place: _Place, name: bytes, path: bytes) -> _Place:
    fd = os.open(name, _DIRECTORY, dir_fd=place.fd)
    try:
        _refuse_redirect(fd, path)
        return _Place(path, fd, [] if _is_opaque(fd) else open_below(place.below, name))
    except BaseException:
        os.close(fd)
        raise


def open_below(below: Sequence[int], name: bytes) -> list[int]:
    """The directory `name` of the layers below, down to the one that hides the rest."""
    opened: list[int] = []
    for fd in below:
        try:
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(info.st_mode):
            break
        opened.append(os.open(name, _DIRECTORY, dir_fd=fd))
        if _is_opaque(opened[-1]):
            break
    return opened


def _names_below(place: _Place, name: bytes) -> list[bytes]:
    """What the layers below show in the directory `name`."""
    shown: dict[bytes, bool] = {}
    fds = open_below(place.below, name)
    try:
        for fd in fds:
            for one in sorted(os.listdir(fd)):
                inner = os.fsencode(one)
                there = not is_whiteout(os.stat(inner, dir_fd=fd, follow_symlinks=False))
                shown.setdefault(inner, there)
    finally:
        for fd in fds:
            os.close(fd)
    return sorted(one for one, there in shown.items() if there)


def _look_up(below: Sequence[int], name: bytes) -> os.stat_result | None:
    for fd in below:
        try:
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        return None if is_whiteout(info) else info
    return None


def differs(old: os.stat_result, new: os.stat_result, *, times: bool = True) -> bool:
    if times and old.st_mtime_ns != new.st_mtime_ns:
        return True
    return (old.st_mode, old.st_uid, old.st_gid) != (new.st_mode, new.st_uid, new.st_gid)


def holds(path: bytes, skip: frozenset[str]) -> bool:
    """Whether a directory is one in which the engine makes a place: then its time says nothing of the user's."""
    shown = os.fsdecode(path)
    return any(one.rpartition("/")[0] == shown for one in skip)


def is_whiteout(info: os.stat_result) -> bool:
    """Whether a file is overlayfs's mark of removal."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def is_empty(parent_fd: int, name: bytes, info: os.stat_result) -> bool:
    if stat.S_ISREG(info.st_mode):
        return info.st_size == 0
    if not stat.S_ISDIR(info.st_mode):
        return False
    fd = os.open(name, _DIRECTORY, dir_fd=parent_fd)
    try:
        return not [one for one in os.listdir(fd) if os.fsencode(one) not in _FUSE_MARKS]
    finally:
        os.close(fd)


def _is_opaque(fd: int) -> bool:
    return any(_xattr(fd, name) == b"y" for name in _OPAQUE)


def _xattr(fd: int, name: str) -> bytes | None:
    try:
        return os.getxattr(fd, name)
    except OSError:  # ENODATA; EPERM for trusted. without the capability
        return None


def _refuse_redirect(fd: int, path: bytes) -> None:
    if any(_xattr(fd, name) is not None for name in _REDIRECT):
        raise errors.Unsupported(
            f"{os.fsdecode(path)} was renamed as a whole by an overlay with redirect_dir",
            hint="copy the directory in the container instead of renaming it",
        )


# --- archives -------------------------------------------------------------------------------------------------------


def write_layer(
    upper: int,
    out: Callable[[bytes], object],
    lower: Sequence[int] = (),
    *,
    skip: frozenset[str] = frozenset(),
    latest: int | None = None,
    inside: Callable[[int, int], tuple[int, int]] | None = None,
) -> LayerFacts:
    """Write what `upper` changes as a layer (image-spec, layer.md): `.wh.NAME` for what it removes, `.wh..wh..opq`
    for opaque directories, attributes, hard links among its own files. The same tree gives the same bytes.

    `lower` and `skip` as in `changes`; `latest` cuts later times (seconds, SOURCE_DATE_EPOCH); `inside` maps owners
    back when this process does not run in their map. Raises OSError, Unsupported.
    """
    writing = Writing(out, latest, inside, skip, layer=True)
    writing.known = bool(lower)
    writing.walk(_Place(b"", os.dup(upper), [os.dup(fd) for fd in lower]))
    return writing.finish()


def write_tree(
    root: int,
    out: Callable[[bytes], object],
    *,
    latest: int | None = None,
    inside: Callable[[int, int], tuple[int, int]] | None = None,
    one_file_system: bool = False,
    volume: bool = False,
) -> LayerFacts:
    """Write a whole tree as it is (`export`, `import` of a directory): no marks, every name. Of a `volume` holes stay
    holes, and device nodes are left out. Raises OSError."""
    writing = Writing(out, latest, inside, frozenset(), layer=False)
    writing.volume = volume
    if one_file_system:
        writing.device = os.fstat(root).st_dev
    writing.root(root)
    writing.walk(_Place(b"", os.dup(root), []))
    return writing.finish()


class Writing:
    """An archive of one tree on its way out: members from files, hard links, what is left out."""

    def __init__(
        self,
        out: Callable[[bytes], object],
        latest: int | None,
        inside: Callable[[int, int], tuple[int, int]] | None,
        skip: frozenset[str],
        *,
        layer: bool,
    ) -> None:
        import hashlib

        self._hash = hashlib.sha256()
        self._out = out
        self.size = self.omitted = 0
        self.tar = TarWriter(self._write)
        self.latest = latest
        self.inside = inside
        self.skip = skip
        self.layer = layer
        self.device: int | None = None
        self.volume = False
        self.known = False  # what lies below: then no mark is written that hides nothing
        self._links: dict[tuple[int, int], bytes] = {}

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)
        self._out(data)

    def finish(self) -> LayerFacts:
        """The end mark, and what was written."""
        self.tar.finish()
        return LayerFacts(
            diff_id="sha256:" + self._hash.hexdigest(),
            size=self.size,
            entries=self.tar.entries,
            data=self.tar.data,
            omitted=self.omitted,
        )

    def root(self, fd: int) -> None:
        """An entry for the directory itself."""
        self.tar.add(self.member(b"./", os.fstat(fd), tar.DIRECTORY, fd))

    def walk(self, place: _Place) -> None:
        """All entries of a directory, sorted, each directory before what is in it."""
        try:
            for name in sorted(os.fsencode(one) for one in os.listdir(place.fd)):
                info = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
                path = place.path + b"/" + name
                if self.layer and self._marked(place, name, path, info):
                    continue
                if self.device is not None and info.st_dev != self.device:
                    continue
                self._entry(place, name, path, info)
        finally:
            place.close()

    def _marked(self, place: _Place, name: bytes, path: bytes, info: os.stat_result) -> bool:
        """Whether the entry is one of overlayfs's marks or none at all; then it is done with."""
        if name in _FUSE_MARKS:
            return True
        if is_whiteout(info):
            if _look_up(place.below, name) is not None or not place.below:
                white = (place.path + b"/.wh." + name)[1:]
                self.tar.add(Member(name=white, kind=tar.REGULAR, mode=0))
            return True
        if name.startswith(b".wh."):  # in a layer it would mean something else
            self.omitted += 1
            return True
        return bool(
            os.fsdecode(path) in self.skip and _look_up(place.below, name) is None and is_empty(place.fd, name, info)
        )

    def _entry(self, place: _Place, name: bytes, path: bytes, info: os.stat_result) -> None:
        kind = packing.kind_of(info.st_mode)
        if kind == tar.DIRECTORY:
            inner = _enter(place, name, path) if self.layer else _Place(path, _open_at(place.fd, name), [])
            member = self.member(path[1:] + b"/", info, kind, inner.fd)
            self.tar.add(member)
            if self.layer and _is_opaque(inner.fd) and (_look_up(place.below, name) is not None or not self.known):
                self.tar.add(Member(name=path[1:] + b"/.wh..wh..opq", kind=tar.REGULAR, mode=0))
            self.walk(inner)
            return
        self.file(place.fd, name, path, info)

    def file(self, parent_fd: int, name: bytes, path: bytes, info: os.stat_result) -> None:
        """Anything but a directory."""
        kind = packing.kind_of(info.st_mode)
        if kind is None or (self.volume and kind in (tar.CHARACTER, tar.BLOCK_DEVICE)):
            self.omitted += 1
            return
        first = self._links.get((info.st_dev, info.st_ino)) if info.st_nlink > 1 else None
        if first is not None:
            member = self.member(path[1:], info, kind, None).replace(kind=tar.HARDLINK, link=first, size=0)
            self.tar.add(member)
            return
        if info.st_nlink > 1:
            self._links[info.st_dev, info.st_ino] = path[1:]
        if kind != tar.REGULAR:
            link = os.readlink(name, dir_fd=parent_fd) if kind == tar.SYMLINK else b""
            self.tar.add(self.member(path[1:], info, kind, None).replace(link=link))
            return
        fd = os.open(name, _FILE, dir_fd=parent_fd)
        try:
            if any(_xattr(fd, one) is not None for one in _METACOPY):
                raise errors.Unsupported(f"{os.fsdecode(path)} has no data of its own: an overlay with metacopy")
            member = self.member(path[1:], os.fstat(fd), kind, fd)
            pieces = packing.pieces_of(fd, member.size) if self.volume and member.kind == tar.REGULAR else None
            if pieces is None:
                self.tar.add(member, fd)
            else:
                self.tar.add_sparse(member, fd, pieces)
        finally:
            os.close(fd)

    def member(self, name: bytes, info: os.stat_result, kind: bytes, fd: int | None) -> Member:
        """An entry as the file is; `fd`, where it can be opened, gives the attributes."""
        mtime = info.st_mtime_ns // 1_000_000_000
        uid, gid = info.st_uid, info.st_gid
        if self.inside is not None:
            uid, gid = self.inside(uid, gid)
        device = info.st_rdev if kind in (tar.CHARACTER, tar.BLOCK_DEVICE) else 0
        member = Member(
            name=name,
            kind=kind,
            mode=stat.S_IMODE(info.st_mode) if kind != tar.SYMLINK else 0o777,
            uid=uid,
            gid=gid,
            size=info.st_size if kind == tar.REGULAR else 0,
            mtime=mtime if self.latest is None else min(mtime, self.latest),
            major=os.major(device),
            minor=os.minor(device),
            xattrs=_kept_xattrs(fd) if fd is not None else (),
        )
        record = _xattr(fd, _OVERRIDE) if fd is not None else None
        return member if record is None else _as_recorded(member, record)


def _open_at(parent_fd: int, name: bytes) -> int:
    return os.open(name, _DIRECTORY, dir_fd=parent_fd)


def _kept_xattrs(fd: int) -> tuple[tuple[str, bytes], ...]:
    """The attributes that a layer may carry (`apply.py` says why no others)."""
    try:
        names = os.listxattr(fd)
    except OSError:
        return ()
    kept = [n for n in names if n == "security.capability" or (n.startswith("user.") and not n.startswith(_PRIVATE))]
    values = [(name, _xattr(fd, name)) for name in sorted(kept)]
    return tuple([(name, value) for name, value in values if value is not None])


def _as_recorded(member: Member, record: bytes) -> Member:
    """Owner, mode and kind that a user with a single id could only note (`uid:gid:mode:kind`)."""
    parts = record.decode("ascii", "replace").split(":")
    try:
        uid, gid, mode = int(parts[0]), int(parts[1]), int(parts[2], 8)
    except (IndexError, ValueError):
        return member
    member = member.replace(uid=uid, gid=gid, mode=mode & 0o7777)
    what = parts[3].split("-") if len(parts) > 3 else []
    if len(what) == 3 and what[0] in ("char", "block") and what[1].isdigit() and what[2].isdigit():
        kind = tar.CHARACTER if what[0] == "char" else tar.BLOCK_DEVICE
        return member.replace(kind=kind, size=0, major=int(what[1]), minor=int(what[2]))
    return member


# --- a container of the store ---------------------------------------------------------------------------------------


def changes_of(
    snapshots: Snapshots, key: str, chain_ids: Sequence[str], *, skip: frozenset[str] = frozenset()
) -> list[Change]:
    """What the container `key` changed of its image (`chain_ids` bottom first). Raises NotFound, AtollError."""
    from atoll.base import jsontext

    memory = os.memfd_create("changes", os.MFD_CLOEXEC)
    try:
        _ask(snapshots, key, chain_ids, memory, {"do": "changes", "skip": sorted(skip)})
        with os.fdopen(os.dup(memory), "rb") as stream:
            stream.seek(0)
            return [Change(kind=kind, path=path) for kind, path in jsontext.loads(stream.read())]
    finally:
        os.close(memory)


def layer_of(
    snapshots: Snapshots,
    key: str,
    chain_ids: Sequence[str],
    out_fd: int,
    *,
    skip: frozenset[str] = frozenset(),
    latest: int | None = None,
) -> LayerFacts:
    """Write the container's changes as a layer to `out_fd`, at its position. Raises AtollError."""
    message: dict[str, Any] = {"do": "layer", "skip": sorted(skip), "latest": latest}
    return LayerFacts(**_ask(snapshots, key, chain_ids, out_fd, message))


def _ask(
    snapshots: Snapshots, key: str, chain_ids: Sequence[str], out_fd: int, message: dict[str, Any]
) -> dict[str, Any]:
    """Have the process inside the id map do it."""
    from atoll.snapshots import copying
    from atoll.snapshots.worker import Worker

    writable = snapshots.writable(key)
    plan = snapshots.plan(chain_ids, writable)
    message = {**message, "upper": plan.upper, "lower": plan.lower, "copied": copying.since(writable.path)}
    with Worker(snapshots.idmap) as worker:
        return worker.ask(message, [out_fd])
